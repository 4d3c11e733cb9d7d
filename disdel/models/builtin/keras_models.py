"""Built-in networks as Keras models. Imports Keras when called, not when imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from pathlib import Path
from typing import Any

from disdel.errors import UsageError
from disdel.models import layers_of
from disdel.models.builtin.layers import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    Relu,
    Residual,
    rectified_late,
)
from disdel.models.keras_made import KerasNetwork
from disdel.runtimes.keras.recipe import recipe_for
from disdel.types.reading import Scaling
from disdel.types.specs import ModelSpec
from disdel.user_code.module import UserModule

# Keras ships no types.
KerasModel = Any
KerasTensor = Any


def built_in_network(spec: ModelSpec) -> KerasNetwork:
    """A built-in network and how it is trained."""
    usual = recipe_for(spec.learns, probabilities=spec.gives_probabilities)
    return KerasNetwork(
        build_keras_model(spec),
        replace(
            usual,
            loss_unit=spec.loss.unit,
            label_shape=spec.target.shape,
            adds_axis=not spec.target.shape,
        ),
        optimizer=lambda chosen: chosen.name,
    )


def build_keras_model(spec: ModelSpec) -> KerasModel:
    """An uncompiled Keras model with fresh weights.

    Args:
        spec: the network and its shapes. Its preprocessing is the model's first layer, so that
            the saved model takes samples as they are.

    Returns:
        A `keras.Model` from (batch, *input_shape) to class probabilities (batch, classes), or to
        numbers (batch, n).
    """
    import keras

    # Keras numbers unnamed layers in a process; a warm container must give a cold one's names.
    keras.utils.clear_session()
    return keras_model_here(spec)


def load_keras_network(path: Path, code: UserModule | None = None) -> KerasModel:
    """The uncompiled model in a Keras file.

    Args:
        path: the file.
        code: whose classes and functions the model may be made of.

    Raises:
        UsageError: it is no such file, or made of layers that are not known here.
    """
    import keras

    known = {} if code is None else code.definitions()
    try:
        return keras.saving.load_model(path, custom_objects=known, compile=False)
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(f"the model {path} cannot be loaded: {error}") from error


def keras_model_here(spec: ModelSpec) -> KerasModel:
    """As `build_keras_model`, within the scopes of Keras that are open, which that leaves.

    Names are the same in a process that has made no other model.
    """
    import keras

    samples = keras.Input(spec.input_shape, name="input")
    x = samples
    if spec.preprocessing == "bytes":
        x = keras.layers.Rescaling(1 / 255, name="scale")(x)
    elif spec.scaling is not None:
        x = _standardised(x, spec.scaling)
    x = _chain(layers_of(spec), x)
    if spec.learns == "number" and spec.scaling is not None:
        units = (spec.scaling.target_deviation, spec.scaling.target_mean)
        deviation, mean = (list(u) if len(u) > 1 else u[0] for u in units)
        x = keras.layers.Rescaling(deviation, mean, name="units")(x)
    return keras.Model(samples, x, name=spec.name)


def _standardised(x: KerasTensor, scaling: Scaling) -> KerasTensor:
    """Samples minus their means, divided by their deviations: a layer of constants."""
    import keras

    mean, deviation = list(scaling.mean), list(scaling.deviation)
    if min(deviation) <= keras.config.epsilon():
        # Keras divides by no less than that.
        offset = [-m / d for m, d in zip(mean, deviation, strict=True)]
        return keras.layers.Rescaling([1 / d for d in deviation], offset, name="standardise")(x)
    variance = [d * d for d in deviation]
    if len(mean) == 1:  # for all entries, however many there are
        return keras.layers.Normalization(None, mean[0], variance[0], name="standardise")(x)
    return keras.layers.Normalization(-1, mean, variance, name="standardise")(x)


def _chain(layers: Sequence[Layer], x: KerasTensor) -> KerasTensor:
    for layer in rectified_late(layers):
        x = _apply(layer, x)
    return x


@singledispatch
def _apply(layer: Layer, x: KerasTensor) -> KerasTensor:  # noqa: ARG001
    """The output of a new Keras layer that is what `layer` describes, for the input `x`."""
    raise TypeError(f"no Keras layer for {layer!r}")


@_apply.register
def _(layer: Conv2D, x: KerasTensor) -> KerasTensor:
    import keras

    return keras.layers.Conv2D(
        layer.filters,
        layer.kernel,
        strides=layer.strides,
        padding=layer.padding,
        activation=layer.activation,
        use_bias=layer.bias,
    )(x)


@_apply.register
def _(layer: BatchNorm, x: KerasTensor) -> KerasTensor:
    import keras

    return keras.layers.BatchNormalization(momentum=layer.momentum, epsilon=layer.epsilon)(x)


@_apply.register
def _(layer: Relu, x: KerasTensor) -> KerasTensor:  # noqa: ARG001 - dispatched on its type
    import keras

    return keras.layers.ReLU()(x)


@_apply.register
def _(layer: MaxPool2D, x: KerasTensor) -> KerasTensor:
    import keras

    return keras.layers.MaxPooling2D(layer.size)(x)


@_apply.register
def _(layer: AveragePool2D, x: KerasTensor) -> KerasTensor:
    import keras

    return keras.layers.AveragePooling2D(layer.size)(x)


@_apply.register
def _(layer: GlobalAveragePool2D, x: KerasTensor) -> KerasTensor:  # noqa: ARG001
    import keras

    return keras.layers.GlobalAveragePooling2D()(x)


@_apply.register
def _(layer: Flatten, x: KerasTensor) -> KerasTensor:  # noqa: ARG001
    import keras

    return keras.layers.Flatten()(x)


@_apply.register
def _(layer: Dense, x: KerasTensor) -> KerasTensor:
    import keras

    return keras.layers.Dense(layer.units, activation=layer.activation)(x)


@_apply.register
def _(layer: Residual, x: KerasTensor) -> KerasTensor:
    import keras

    return keras.layers.Add()([_chain(layer.body, x), _chain(layer.shortcut, x)])
