"""What a Keras model is trained for: its target, loss and metrics, and what becomes of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from disdel.runtimes.keras.masks import mask_of, masked, spread
from disdel.types.names import Target

# Keras and TensorFlow ship no types: these are tensors and models of theirs.
KerasModel = Any
Tensor = Any
Measure = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasRecipe:
    """How a model is trained, scored and saved.

    Attributes:
        target: what it learns of a sample.
        gives_probabilities: whether its outputs are probabilities already; else, for classes, they
            are logits.
        loss: the mean loss of a batch, from the targets and the model's outputs.
        metrics: further means by name, from the targets and the probabilities (or numbers).
        augment: from samples (batch, *input_shape) float32 and labels (batch,) to others of the
            same shapes; in training only.
        exported: what is saved in place of the model.
        loss_unit: what the loss is divided by before gradients are taken, so that steps do not
            depend on the units of numbers to predict.
        loss_is_sum: whether `loss` adds up over the batch.
        cuts: whether a batch's loss is made of those of its parts.
        weigh: what each label counts in the mean that `loss` takes, of targets; None where all
            count the same.
        label_shape: of what is learnt of one sample; () for one class or number.
        adds_axis: whether outputs of one value for each label have an axis for it, which labels
            lack.

    Targets are class numbers, (batch, *label_shape) int32; for "binary" and "number" float32, with
    `adds_axis` (batch, *label_shape, 1), as the outputs then are.
    """

    target: Target
    gives_probabilities: bool
    loss: Measure
    metrics: Mapping[str, Measure] = field(default_factory=dict)
    augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    exported: KerasModel | None = None
    loss_unit: float = 1.0
    loss_is_sum: bool = False
    cuts: bool = True
    weigh: Callable[[Tensor], Tensor] | None = None
    label_shape: tuple[int, ...] = ()
    adds_axis: bool = True

    def counts(self, y: Tensor, mask: Tensor | None) -> Tensor:
        """Whether such labels count where the model's outputs have a mask: bool, of their shape."""
        import tensorflow as tf

        return tf.ones_like(y, tf.bool) if mask is None else spread(mask, y, "target")

    def weights(self, y: Tensor, mask: Tensor | None) -> Tensor:
        """What such labels count in the loss of a batch, float32 of their shape."""
        import tensorflow as tf

        counts = tf.cast(self.counts(y, mask), tf.float32)
        return counts if self.weigh is None else counts * self.weigh(y)

    def share(self, part: Tensor, batch: Tensor) -> Tensor:
        """What the loss of a part counts in its batch's: a scalar, of the weights of both, (n,)."""
        import tensorflow as tf

        if self.loss_is_sum:
            return tf.constant(1.0)
        return tf.math.divide_no_nan(tf.reduce_sum(part), tf.reduce_sum(batch))

    def wanted(self, y: Tensor) -> Tensor:
        """The targets that loss and metrics are given, of labels (batch, *label_shape)."""
        import tensorflow as tf

        if self.target == "class":
            return y
        numbers = tf.cast(y, tf.float32)
        return numbers[..., tf.newaxis] if self.adds_axis else numbers

    def probabilities(self, outputs: Tensor) -> Tensor:
        """What the outputs mean, probabilities or numbers, in their shape and with their mask."""
        import keras

        if self.gives_probabilities or self.target == "number":
            return outputs
        act = keras.ops.softmax if self.target == "class" else keras.ops.sigmoid
        return masked(act(outputs), mask_of(outputs))

    def correct(self, y: Tensor, outputs: Tensor) -> Tensor:
        """How many labels that count are predicted correctly: a scalar, 0 without classes.

        Args:
            y: (batch, *label_shape) int32.
            outputs: (batch, *label_shape, classes), or of two classes one value for each label.
        """
        import tensorflow as tf

        if self.target == "number":
            return tf.constant(0, tf.int64)
        if self.target == "class":
            guessed = tf.argmax(outputs, axis=-1, output_type=tf.int32)
        else:
            chances = tf.reshape(outputs, tf.shape(y))
            guessed = tf.cast(chances > (0.5 if self.gives_probabilities else 0.0), tf.int32)
        hits = tf.equal(guessed, y)
        return tf.math.count_nonzero(hits & self.counts(y, mask_of(outputs)))


def recipe_for(target: Target, *, probabilities: bool) -> KerasRecipe:
    """The usual loss for a target: cross-entropy, or the squared error; that with the absolute one.

    Args:
        target: what is learnt.
        probabilities: whether the model gives probabilities and not logits.
    """
    import keras

    logits = not probabilities
    if target == "class":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    elif target == "binary":
        loss = keras.losses.BinaryCrossentropy(from_logits=logits)
    else:
        loss = keras.losses.MeanSquaredError()
    recipe = KerasRecipe(target=target, gives_probabilities=probabilities, loss=loss)
    if target == "number":
        name, measure = "mean_absolute_error", keras.losses.mean_absolute_error
        recipe = replace(recipe, metrics={name: mean_of(measure)})
    return recipe


def mean_of(measure: Measure) -> Measure:
    """The mean over a batch, as one float32, of what `measure` gives for it or for each sample.

    What the outputs' mask leaves out does not count, as for a function that `compile` is given.
    """

    def mean(targets: Tensor, outputs: Tensor) -> Tensor:
        import tensorflow as tf

        values = tf.cast(measure(targets, outputs), tf.float32)
        mask = mask_of(outputs)
        if mask is None or values.shape.rank == 0:
            return tf.reduce_mean(values)
        counts = tf.cast(spread(mask, values, "loss or metric"), tf.float32)
        return tf.math.divide_no_nan(tf.reduce_sum(values * counts), tf.reduce_sum(counts))

    return mean
