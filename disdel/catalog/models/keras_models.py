"""Built-in networks as Keras models. Imports Keras when called, not when imported."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from disdel.catalog.models import layers_of
from disdel.catalog.models.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D
from disdel.types import ModelSpec

# Keras ships no types.
KerasLayer = Any
KerasModel = Any


def build_keras_model(spec: ModelSpec, *, input_dtype: str) -> KerasModel:
    """An uncompiled Keras model with fresh weights.

    Args:
        spec: the network and its shapes.
        input_dtype: of the samples as stored; uint8 images are scaled to 0..1 by the model's first
            layer, so that the saved model takes images as they are.

    Returns:
        A `keras.Sequential` from (batch, *input_shape) to class probabilities (batch, classes), or
        to numbers (batch, 1).
    """
    import keras

    # Keras numbers unnamed layers in a process; a warm container must give a cold one's names.
    keras.utils.clear_session()
    stack: list[KerasLayer] = [keras.Input(spec.input_shape, name="input")]
    if input_dtype == "uint8":
        stack.append(keras.layers.Rescaling(1 / 255, name="scale"))
    stack += [_to_keras(layer) for layer in layers_of(spec)]
    return keras.Sequential(stack, name=spec.name)


@singledispatch
def _to_keras(layer: Layer) -> KerasLayer:
    raise TypeError(f"no Keras layer for {layer!r}")


@_to_keras.register
def _(layer: Conv2D) -> KerasLayer:
    import keras

    return keras.layers.Conv2D(layer.filters, layer.kernel, activation=layer.activation)


@_to_keras.register
def _(layer: MaxPool2D) -> KerasLayer:
    import keras

    return keras.layers.MaxPooling2D(layer.size)


@_to_keras.register
def _(layer: Flatten) -> KerasLayer:  # noqa: ARG001 - dispatched on its type
    import keras

    return keras.layers.Flatten()


@_to_keras.register
def _(layer: Dense) -> KerasLayer:
    import keras

    return keras.layers.Dense(layer.units, activation=layer.activation)
