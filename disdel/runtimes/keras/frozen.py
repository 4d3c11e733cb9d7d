"""Which variables of a Keras model no training step changes. Imports Keras when called."""

from __future__ import annotations

from typing import Any

# Keras does not ship types.
KerasModel = Any


def frozen_variables(model: KerasModel) -> set[int]:
    """The ids of the variables of frozen layers, whatever they hold, and of layers of constants.

    In a frozen layer, statistics stay as they are, too: batch normalisation uses them there.
    Weights that are frozen one by one are among these, and statistics of layers that are trained
    are not.
    """
    import keras

    trained = {id(variable) for variable in model.trainable_variables}
    found: set[int] = set()
    # Keras gives layers inside of layers, and what a layer holds by itself, in no other way.
    for layer in model._flatten_layers():
        made_to_train = {id(variable) for variable in layer._trainable_variables}
        found |= made_to_train - trained
        if not layer.trainable or isinstance(layer, keras.layers.Normalization):
            found |= {id(variable) for variable in layer._non_trainable_variables}
    return found
