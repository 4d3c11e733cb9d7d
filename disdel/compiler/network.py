"""What is compiled: a Keras model and how it is trained. Imports Keras on JAX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras

from disdel.compiler import CompileJob
from disdel.compiler.lowering import without_values
from disdel.compiler.recipe import Recipe, recipe_for
from disdel.models.builtin.keras_models import keras_model_here

# Keras ships no types.
KerasModel = Any
KerasOptimizer = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredNetwork:
    """A network to compile.

    Attributes:
        model: from stored samples to what `recipe` says; its variables need no values.
        recipe: what it is trained and scored for.
        optimizer: built for nothing yet.
        saved: what the Keras file has: `model`, to probabilities or numbers.
        guarded: calls what runs the user's own, and raises `UsageError` where that fails.
    """

    model: KerasModel
    recipe: Recipe
    optimizer: KerasOptimizer
    saved: KerasModel
    guarded: Callable[[Callable[[], Any]], Any] = lambda run: run()


def built_in_network(job: CompileJob) -> LoweredNetwork:
    """The built-in network that a job names."""
    spec = job.model
    with without_values():
        model = keras_model_here(spec)
    usual = recipe_for(spec.learns, gives_probabilities=spec.gives_probabilities)
    return LoweredNetwork(
        model=model,
        recipe=replace(usual, loss_unit=spec.loss.unit),
        optimizer=keras.optimizers.get(spec.optimizer(job.optimizer).name),
        saved=model,
    )
