"""Keras 3 on TensorFlow, driven by a compiled loop over several steps.

One graph call takes a block of batches and runs an optimizer step for each, so that the Python cost
of a step is paid once a block. Measured beside `model.fit` on the same network in
`experiments/main_job`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from disdel.arrays import Array, Tensors
from disdel.training.base import Trainer, check_state

# Neither Keras nor TensorFlow ships types.
KerasModel = Any
KerasOptimizer = Any


class KerasTrainer(Trainer):
    """Trains a built Keras classifier.

    Args:
        model: an uncompiled model from stored samples to class probabilities.
        optimizer: a name of `disdel.types.OPTIMIZERS`.
        learning_rate: None for the optimizer's own default.
        input_dtype: numpy name of the samples' dtype.
    """

    model_suffix = ".keras"

    def __init__(
        self, model: KerasModel, *, optimizer: str, learning_rate: float | None, input_dtype: str
    ) -> None:
        import keras
        import tensorflow as tf

        self._model = model
        self._optimizer = _optimizer(optimizer)
        if learning_rate is not None:
            self._optimizer.learning_rate = learning_rate
        self._optimizer.build(model.trainable_variables)
        self._loss = keras.losses.SparseCategoricalCrossentropy()
        samples = tf.TensorSpec((None, None, *model.input_shape[1:]), tf.as_dtype(input_dtype))
        labels = tf.TensorSpec((None, None), tf.int32)
        self._train_block = tf.function(self._steps, input_signature=(samples, labels))
        self._train_block_in_parts = tf.function(
            self._steps_in_parts, input_signature=(samples, labels, tf.TensorSpec((), tf.int32))
        )
        batch = tf.TensorSpec((None, *model.input_shape[1:]), samples.dtype)
        self._score_batch = tf.function(
            self._score, input_signature=(batch, tf.TensorSpec((None,), tf.int32))
        )

    def _steps(self, x: Any, y: Any) -> Any:
        import tensorflow as tf

        loss_sum = tf.constant(0.0)
        for step in tf.range(tf.shape(x)[0]):
            loss, gradients = self._gradients(x[step], y[step])
            self._optimizer.apply(gradients, self._model.trainable_variables)
            loss_sum += loss
        return loss_sum * tf.cast(tf.shape(x)[1], tf.float32)

    def _gradients(self, x: Any, y: Any) -> tuple[Any, list[Any]]:
        """Mean loss of a batch and its gradients."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = self._loss(y, self._model(tf.cast(x, tf.float32), training=True))
            for penalty in self._model.losses:
                loss += penalty
        return loss, tape.gradient(loss, self._model.trainable_variables)

    def _steps_in_parts(self, x: Any, y: Any, parts: Any) -> Any:
        """As `_steps`, with each batch in `parts` parts whose gradients are added up."""
        import tensorflow as tf

        batch = tf.shape(x)[1]
        variables = self._model.trainable_variables
        loss_sum = tf.constant(0.0)
        for step in tf.range(tf.shape(x)[0]):
            totals = [tf.zeros_like(variable) for variable in variables]
            for part in tf.range(parts):
                start, stop = part * batch // parts, (part + 1) * batch // parts
                share = tf.cast(stop - start, tf.float32) / tf.cast(batch, tf.float32)
                loss, gradients = self._gradients(x[step, start:stop], y[step, start:stop])
                totals = [
                    total + gradient * tf.cast(share, gradient.dtype)
                    for total, gradient in zip(totals, gradients, strict=True)
                ]
                loss_sum += loss * share
            self._optimizer.apply(totals, variables)
        return loss_sum * tf.cast(batch, tf.float32)

    def _score(self, x: Any, y: Any) -> Any:
        import tensorflow as tf

        probabilities = self._model(tf.cast(x, tf.float32), training=False)
        loss_sum = self._loss(y, probabilities) * tf.cast(tf.shape(y)[0], tf.float32)
        hits = tf.equal(tf.argmax(probabilities, axis=1, output_type=tf.int32), y)
        return loss_sum, tf.math.count_nonzero(hits)

    def train(self, x: Array, y: Array, micro_batches: int = 1) -> float:
        parts = min(micro_batches, x.shape[1])
        if parts == 1:
            return float(self._train_block(x, y))
        return float(self._train_block_in_parts(x, y, parts))

    def score(self, x: Array, y: Array) -> tuple[float, int]:
        loss_sum, correct = self._score_batch(x, y)
        return float(loss_sum), int(correct)

    def state(self) -> dict[str, Array]:
        return {name: np.asarray(variable) for name, variable in self._variables().items()}

    def load_state(self, tensors: Tensors) -> None:
        variables = self._variables()
        check_state({name: tuple(v.shape) for name, v in variables.items()}, tensors)
        for name, variable in variables.items():
            variable.assign(tensors[name])

    def _variables(self) -> dict[str, Any]:
        named = {f"model/{i:04d}/{v.path}": v for i, v in enumerate(self._model.variables)}
        named |= {f"optimizer/{i:04d}/{v.path}": v for i, v in enumerate(self._optimizer.variables)}
        return named

    def save_model(self, path: Path) -> None:
        self._model.save(path)


def _optimizer(name: str) -> KerasOptimizer:
    import keras

    if name == "adam":
        from disdel.training.fused_adam import FusedAdam

        return FusedAdam()
    return keras.optimizers.get(name)


def pin_threads(threads: int | None) -> None:
    """Give TensorFlow `threads` CPU threads; None leaves it the machine's.

    It can be said once a process, before the first operation; a warm container keeps what its
    first activation said.
    """
    import tensorflow as tf

    if threads is None or tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
