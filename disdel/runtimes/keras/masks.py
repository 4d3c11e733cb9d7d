"""Which labels of a sequence count, as Keras passes it on: a mask with what a layer gives.

Keras keeps a mask as an attribute of a tensor, which is lost in operations that are no layers.
"""

from __future__ import annotations

from typing import Any

from disdel.errors import UsageError

# Keras and TensorFlow ship no types.
Tensor = Any


def mask_of(outputs: Tensor) -> Tensor | None:
    """The mask of what a model gave, (batch, …) bool; None where all of it counts."""
    return getattr(outputs, "_keras_mask", None)


def masked(outputs: Tensor, mask: Tensor | None) -> Tensor:
    """The same outputs with a mask, (batch, …) bool; None leaves them without."""
    if mask is not None:
        outputs._keras_mask = mask
    return outputs


def spread(mask: Tensor, values: Tensor, what: str) -> Tensor:
    """A mask in the shape of values, of which it has the first axes.

    Args:
        mask: (batch, …) bool.
        values: of a batch.
        what: these are, for a message.

    Raises:
        UsageError: they have fewer axes.
    """
    import tensorflow as tf

    missing = values.shape.rank - mask.shape.rank
    if missing < 0:
        raise UsageError(
            f"the model's outputs have a mask of shape {tuple(mask.shape)}, and there is one "
            f"{what} of shape {tuple(values.shape)}: one is needed for each entry of the mask; "
            "a layer that gives one output a sample, such as a pool or an LSTM, ends a mask"
        )
    for _ in range(missing):
        mask = mask[..., tf.newaxis]
    return tf.broadcast_to(tf.cast(mask, tf.bool), tf.shape(values))
