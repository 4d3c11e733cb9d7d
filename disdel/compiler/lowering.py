"""A model's layers replaced by those that IREE compiles well, or refused. Imports Keras on JAX."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras

from disdel.compiler.layers import DRAWING, LOWERED
from disdel.errors import UsageError

# Keras has no useful types for these.
KerasLayer = Any
KerasModel = Any

# As Keras writes them, they compile as they are.
_AS_THEY_ARE = (
    "InputLayer",
    "Rescaling",
    "Normalization",
    "Dense",
    "Flatten",
    "Reshape",
    "Permute",
    "RepeatVector",
    "Activation",
    "ReLU",
    "LeakyReLU",
    "PReLU",
    "ELU",
    "Softmax",
    "Add",
    "Subtract",
    "Multiply",
    "Average",
    "Maximum",
    "Minimum",
    "Concatenate",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "LayerNormalization",
    "GroupNormalization",
    "UnitNormalization",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "Cropping1D",
    "Cropping2D",
    "UpSampling1D",
    "UpSampling2D",
)


def without_values() -> Any:
    """A context in which variables have shapes and initialisers, and no values.

    Making values takes JAX a second, and nothing that is compiled depends on them.
    """
    return keras.StatelessScope(initialize_variables=False)


def lowered(model: KerasModel) -> KerasModel:
    """A model like `model` of layers that compile well, without values.

    Raises:
        UsageError: a layer has no such kernel; the message names it and what to use instead.
    """
    for inner in model._flatten_layers():
        if isinstance(inner, keras.Model) and not type(inner).__module__.startswith("keras."):
            # Its layers may be known, and yet not all that it does.
            raise _refusal(inner)
    with without_values():
        mine = keras.models.clone_model(
            model,
            clone_function=partial(_lowered_layer, rectified=_rectified(model)),
            recursive=True,
        )
    for made, given in zip(mine.variables, model.variables, strict=True):
        # Layers are made anew of their settings, which do not know what was done to a weight since.
        made.trainable = given.trainable
        made.regularizer, made.constraint = given.regularizer, given.constraint
    return mine


def draws_at_random(model: KerasModel) -> bool:
    """Whether a training step of a lowered model takes from `Draws`."""
    return any(isinstance(layer, DRAWING) for layer in model._flatten_layers())


def _lowered_layer(layer: KerasLayer, rectified: Mapping[KerasLayer, KerasLayer]) -> KerasLayer:
    if not isinstance(layer, keras.Layer):
        return layer  # one of keras.ops, which has no state
    kind = type(layer).__name__
    if kind not in (*LOWERED, *_AS_THEY_ARE) or not type(layer).__module__.startswith("keras."):
        raise _refusal(layer)
    _check(layer)
    mine = LOWERED.get(kind, type(layer)).from_config(layer.get_config())
    if layer in rectified.values():
        mine.activation = keras.activations.linear
    if layer in rectified:
        mine.activation = rectified[layer].activation
    return mine


def _rectified(model: KerasModel) -> dict[KerasLayer, KerasLayer]:
    """Pools that take over the ReLU of the convolution before them, and that convolution.

    The largest of what a ReLU gives is what it gives of the largest: of a window's samples one is
    left, and for the gradient it is enough to keep that.
    """
    layers = model._flatten_layers()
    ends = [
        output._keras_history.operation
        for layer in layers
        if isinstance(layer, keras.Model)
        for output in layer.outputs
    ]
    found = {}
    for layer in layers:
        calls, readers = layer._inbound_nodes, layer._outbound_nodes
        if len(calls) != 1 or len(readers) != 1 or layer in ends:
            continue
        pool = readers[0].operation
        if (
            isinstance(layer, keras.layers.Conv1D | keras.layers.Conv2D)
            and layer.activation is keras.activations.relu
            and isinstance(pool, keras.layers.MaxPooling1D | keras.layers.MaxPooling2D)
            and len(pool._inbound_nodes) == 1
        ):
            found[pool] = layer
    return found


def _refusal(layer: KerasLayer) -> UsageError:
    known = ", ".join(sorted((*LOWERED, *_AS_THEY_ARE)))
    return UsageError(
        f"layer {layer.name!r} ({type(layer).__name__}) cannot be compiled: use layers of {known}, "
        "or train with --runtime tensorflow"
    )


def _check(layer: KerasLayer) -> None:
    """Raise `UsageError` for a setting that the kernel of `layer` does not have."""
    wanted: dict[str, str | int | None] = {
        "data_format": "channels_last",
        "compute_dtype": "float32",
    }
    # It would count the samples that only fill up a batch.
    wanted |= {"activity_regularizer": None}
    if type(layer).__name__ == "Normalization" and layer.input_mean is None:
        raise UsageError(
            f"layer {layer.name!r} (Normalization) cannot be compiled without its numbers: give it "
            "mean and variance in place of adapt, or train with --runtime tensorflow"
        )
    if type(layer).__name__ == "BatchNormalization":
        wanted |= {"axis": -1}
    for setting, value in wanted.items():
        found = getattr(layer, setting, value)
        last = setting == "axis" and found == len(layer.input.shape) - 1
        if found != value and not last:
            raise UsageError(
                f"layer {layer.name!r} ({type(layer).__name__}) cannot be compiled with "
                f"{setting}={found!r}: use {value!r}, or train with --runtime tensorflow"
            )
