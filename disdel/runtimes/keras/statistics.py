"""Moving averages of batch statistics, where several clients share a run's steps.

Imports Keras when called.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# Keras ships no types.
KerasModel = Any
KerasLayer = Any


def moving_layers(model: KerasModel) -> list[KerasLayer]:
    """The layers that keep moving averages of batch statistics, with their momentum."""
    import keras

    # Keras gives those inside of layers in no other way.
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


@contextmanager
def shared_steps(layers: Sequence[KerasLayer], clients: int) -> Iterator[None]:
    """Inside, one call moves the averages of `layers` as far as so many calls would."""
    before = [layer.momentum for layer in layers]
    for layer, momentum in zip(layers, before, strict=True):
        layer.momentum = momentum**clients
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
