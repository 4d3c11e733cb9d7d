"""The user's own Keras model, built to be compiled. Imports Keras on JAX.

Whatever fails here has worked on TensorFlow, where it was tried out before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import keras

from disdel.compiler import CompileJob
from disdel.compiler.lowering import without_values
from disdel.compiler.network import LoweredNetwork
from disdel.compiler.recipe import Measure, Recipe, recipe_for
from disdel.errors import UsageError
from disdel.models.user.bundled import function_beside
from disdel.models.user.keras_losses import own_loss, own_metrics
from disdel.models.user.keras_model import (
    Built,
    build_described,
    exported,
    optimizer_of,
    register_definitions,
)
from disdel.types import OPTIMIZERS, CodeRef, ModelSpec, OptimizerSpec, Target
from disdel.user_code.module import UserModule

# Keras ships no types.
KerasOptimizer = Any

# Of optimizers: no step with these was held against TensorFlow's.
_SETTINGS_REFUSED = ("use_ema", "gradient_accumulation_steps", "loss_scale_factor")
_INSTEAD = "or train with --runtime tensorflow"
# The usual loss of a target, as Keras has it: a class and a function.
_USUAL: Mapping[Target, tuple[Any, Any]] = {
    "class": (
        keras.losses.SparseCategoricalCrossentropy,
        keras.losses.sparse_categorical_crossentropy,
    ),
    "binary": (keras.losses.BinaryCrossentropy, keras.losses.binary_crossentropy),
}


def own_network(job: CompileJob, code: CodeRef, folder: Path) -> LoweredNetwork:
    """The network of a job, whose code lies in `folder`.

    Raises:
        UsageError: Keras cannot build it on JAX, or what stands beside its function has no place in
            a compiled step.
    """
    # Else JAX says in each error that it has shortened it.
    jax.config.update("jax_traceback_filtering", "off")  # type: ignore[no-untyped-call]
    # Our stdout is for what we say.
    with redirect_stdout(sys.stderr):
        module, built = _built(job, code, folder)
        return LoweredNetwork(
            model=built.model,
            recipe=_recipe(module, job.model),
            optimizer=_optimizer(module, job.model.optimizer(job.optimizer)),
            saved=exported(built, job.model),
            guarded=partial(_guarded, module),
        )


def _built(job: CompileJob, code: CodeRef, folder: Path) -> tuple[UserModule, Built]:
    """The user's module, and what its function returns, without values."""
    if job.model.takes_integers and job.input_dtype == "int64":
        raise UsageError(
            f"{code.entry} takes integers beyond int32, which compiled networks do not have: "
            "train with --runtime tensorflow"
        )
    with _on_jax(code.entry):
        module = UserModule(code, folder)
        with without_values() as scope:
            built = build_described(module, job.model)
    for variable in built.model.variables:
        # The second where the function has left the scope by clearing Keras's session.
        if id(variable) in scope.state_mapping or variable._value is not None:
            raise UsageError(
                f"{code.entry} gives {variable.path} a value, and weights of compiled networks "
                "are drawn where they are trained: use an initializer, leave "
                f"keras.utils.clear_session out, {_INSTEAD}"
            )
    # Layers are made anew from their settings, which name them.
    register_definitions(module)
    return module, built


@contextmanager
def _on_jax(entry: str) -> Iterator[None]:
    """Say of what goes wrong in the user's code that it is not on TensorFlow here."""
    try:
        yield
    except UsageError as error:
        raise UsageError(
            f"{error}\n--runtime compiled has Keras on JAX for {entry}: use keras.ops there, "
            f"{_INSTEAD}"
        ) from error


def _recipe(module: UserModule, spec: ModelSpec) -> Recipe:
    """What the model is trained and scored for, by what stands beside its function.

    Raises:
        UsageError: some of that has no place in a compiled step.
    """
    entry, target = module.code.entry, spec.learns
    if function_beside(module, "augment") is not None:
        raise UsageError(
            f"{entry}: augment has no place in a compiled step, where samples that only fill up a "
            f"batch must stay apart: use layers such as GaussianNoise, {_INSTEAD}"
        )
    if not spec.by_sample:
        raise UsageError(
            f"{entry}: outputs or loss of a sample hang on others in its batch, and in a compiled "
            f"step some of those only fill it up: use what looks at a sample alone, {_INSTEAD}"
        )
    loss = own_loss(module, target)
    if isinstance(loss, keras.losses.Loss):
        settings = loss.get_config()
        if settings.get("reduction") == "sum" or settings.get("ignore_class") is not None:
            raise UsageError(
                f"{entry}: a compiled step takes the mean of {loss.name} over samples, each in the "
                f"same way: leave reduction='sum' and ignore_class out, {_INSTEAD}"
            )
        if type(loss).__call__ is not keras.losses.Loss.__call__:
            raise UsageError(
                f"{entry}: a compiled step has {loss.name} for each sample by its call, and not by "
                f"a __call__ of its own: write call(y_true, y_pred), {_INSTEAD}"
            )
    if loss is not None:
        usual = _is_usual(loss, target, gives_probabilities=spec.gives_probabilities)
        loss = None if usual else _by_sample(loss)
    metrics = {name: _by_sample(metric) for name, metric in own_metrics(module, target)}
    recipe = recipe_for(target, gives_probabilities=spec.gives_probabilities)
    return replace(recipe, loss=loss, metrics={**recipe.metrics, **metrics})


def _is_usual(loss: Any, target: Target, *, gives_probabilities: bool) -> bool:
    """Whether it is what a recipe without one takes, which knows the logits of probabilities."""
    if target not in _USUAL:
        return False
    kind, function = _USUAL[target]
    if type(loss) is not kind:
        return gives_probabilities and loss is function
    usual = kind(from_logits=not gives_probabilities, name=loss.name, reduction=loss.reduction)
    return bool(loss.get_config() == usual.get_config())


def _by_sample(measure: Measure) -> Measure:
    """A loss as its mean is taken of; as Keras calls it, it is that mean."""
    by_sample: Measure = measure.call if isinstance(measure, keras.losses.Loss) else measure
    return by_sample


def _guarded(module: UserModule, run: Callable[[], Any]) -> Any:
    """What `run` gives, which fails with the user's own line or with a refusal of ours."""
    try:
        return module.guarded(run)
    except UsageError as error:
        if error.__cause__ is None:  # a refusal
            raise
        with _on_jax(module.code.entry):
            raise


def _optimizer(module: UserModule, chosen: OptimizerSpec) -> KerasOptimizer:
    """The optimizer that is described.

    Raises:
        UsageError: it cannot be compiled; the message says what can.
    """
    optimizer = keras.optimizers.get(optimizer_of(module, chosen))
    entry, kind = module.code.entry, type(optimizer)
    if kind.__name__.lower() not in OPTIMIZERS or not kind.__module__.startswith("keras."):
        raise UsageError(
            f"{entry}: optimizer {kind.__name__} cannot be compiled: use one of Keras's "
            f"{', '.join(OPTIMIZERS)}, {_INSTEAD}"
        )
    if callable(optimizer._learning_rate):
        raise UsageError(
            f"{entry}: the optimizer's learning rate follows a schedule or a function: give it a "
            f"number and use --schedule and --warmup, {_INSTEAD}"
        )
    for setting in _SETTINGS_REFUSED:
        if getattr(optimizer, setting):
            raise UsageError(
                f"{entry}: an optimizer with {setting} cannot be compiled: leave it out, {_INSTEAD}"
            )
    return optimizer
