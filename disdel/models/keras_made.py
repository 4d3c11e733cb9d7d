"""A Keras network that is made, whoever wrote it: what a trainer takes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from disdel.runtimes.keras.recipe import KerasRecipe
from disdel.types.specs import OptimizerSpec

# Keras ships no types.
KerasModel = Any
KerasOptimizer = Any


@dataclass(frozen=True, slots=True)
class KerasNetwork:
    """A network with fresh weights.

    Attributes:
        model: uncompiled, from samples as stored, in the dtype of its input.
        recipe: how it is trained, scored and saved.
        optimizer: the optimizer of a description: a name, or a new one that the user made.
    """

    model: KerasModel
    recipe: KerasRecipe
    optimizer: Callable[[OptimizerSpec], str | KerasOptimizer]
