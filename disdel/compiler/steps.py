"""The functions of a program: a training step and a score, as StableHLO text. Imports JAX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import export, lax

from disdel.compiler.draws import Draws
from disdel.compiler.forms import cross_entropy
from disdel.compiler.initial import initial_of
from disdel.compiler.lowering import draws_at_random, lowered, training_step, without_values
from disdel.program import Initial, StateTensor

KerasModel = Any
KerasVariable = Any
JaxArray = Any


class Steps:
    """A Keras classifier, its optimizer and its loss as pure functions of the state.

    Args:
        model: from stored samples to class probabilities; values of its variables are not needed.
        optimizer: a name of `disdel.types.OPTIMIZERS`.
        input_dtype: numpy name of the samples' dtype.

    Raises:
        UsageError: a layer or an initializer cannot be compiled.
    """

    def __init__(self, model: KerasModel, *, optimizer: str, input_dtype: str) -> None:
        self._model, self._gives_logits = _without_softmax(lowered(model))
        self._input_dtype = input_dtype
        self._optimizer = keras.optimizers.get(optimizer)
        self._optimizer.build(self._model.trainable_variables)
        self.draws = draws_at_random(self._model)
        self.model_tensors = len(self._model.variables)
        self.tensors = (*self._model_tensors(), *self._optimizer_tensors())

    def _model_tensors(self) -> Iterator[StateTensor]:
        for i, variable in enumerate(self._model.variables):
            name = f"model/{i:04d}/{variable.path}"
            yield _tensor(name, variable, initial_of(variable))

    def _optimizer_tensors(self) -> Iterator[StateTensor]:
        for i, variable in enumerate(self._optimizer.variables):
            # Every slot and counter of Keras's optimizers begins as one number throughout.
            first = float(np.ravel(variable)[0])
            name = f"optimizer/{i:04d}/{variable.path}"
            yield _tensor(name, variable, Initial(kind="constant", center=first))

    def train_text(self, batch_size: int) -> bytes:
        """One training step of `batch_size` samples as StableHLO."""
        random = [((), "uint32")] if self.draws else []
        return self._text(self._train, self.tensors, batch_size, random)

    def score_text(self, batch_size: int) -> bytes:
        """The score of `batch_size` samples as StableHLO."""
        return self._text(self._score, self.tensors[: self.model_tensors], batch_size)

    def _text(
        self,
        function: Any,
        state: tuple[StateTensor, ...],
        batch_size: int,
        more: Sequence[tuple[tuple[int, ...], str]] = (),
    ) -> bytes:
        shape = (batch_size, *self._model.input_shape[1:])
        arguments = [
            *((tensor.shape, tensor.dtype) for tensor in state),
            (shape, self._input_dtype),
            ((batch_size,), "int32"),
            ((batch_size,), "float32"),
            *more,
        ]
        # The caller passes the whole state, used or not.
        jitted = jax.jit(function, keep_unused=True)
        exported = export.export(jitted, platforms=["cpu"])
        specs = [jax.ShapeDtypeStruct(*argument) for argument in arguments]  # type: ignore[no-untyped-call]
        with without_values():
            return str(exported(*specs).mlir_module()).encode()

    def _train(self, *arguments: JaxArray) -> tuple[JaxArray, ...]:
        count = len(self.tensors)
        state, (x, y, weights, *random) = arguments[:count], arguments[count:]
        [seed] = random or [jnp.uint32(0)]
        trainable, frozen = self._split(state[: self.model_tensors])
        slots = state[self.model_tensors :]

        def mean_loss(trainable: list[JaxArray]) -> tuple[JaxArray, list[JaxArray]]:
            with training_step(weights, Draws(seed)):
                outputs, changed, penalties = self._model.stateless_call(
                    trainable, frozen, x.astype(jnp.float32), training=True, return_losses=True
                )
            loss = (self._losses(y, outputs) * weights).sum() / weights.sum()
            return sum(penalties, loss), changed

        gradient = jax.value_and_grad(mean_loss, has_aux=True)
        (loss, frozen), gradients = gradient(trainable)
        # Fused with the product that gives it, an update reads and writes across the grain.
        gradients = lax.optimization_barrier(gradients)  # type: ignore[no-untyped-call]
        trainable, slots = self._optimizer.stateless_apply(slots, gradients, trainable)
        return (*self._joined(trainable, frozen), *slots, loss * weights.sum())

    def _score(self, *arguments: JaxArray) -> tuple[JaxArray, ...]:
        *state, x, y, weights = arguments
        trainable, frozen = self._split(state)
        outputs, _ = self._model.stateless_call(
            trainable, frozen, x.astype(jnp.float32), training=False
        )
        hits = (jnp.argmax(outputs, axis=1).astype(jnp.int32) == y) & (weights > 0)
        return (self._losses(y, outputs) * weights).sum(), hits.astype(jnp.int32).sum()

    def _losses(self, y: JaxArray, outputs: JaxArray) -> JaxArray:
        """The cross-entropy of each sample, as Keras on TensorFlow takes it of probabilities."""
        epsilon = keras.config.epsilon()
        if not self._gives_logits:
            outputs = jnp.log(jnp.clip(outputs, epsilon, 1 - epsilon))
        return cross_entropy(y, outputs)

    def _split(self, values: Sequence[JaxArray]) -> tuple[list[JaxArray], list[JaxArray]]:
        """The model's values as trainable and not, each in the order of Keras."""
        by_variable = dict(zip(map(id, self._model.variables), values, strict=True))
        trainable = [by_variable[id(v)] for v in self._model.trainable_variables]
        frozen = [by_variable[id(v)] for v in self._model.non_trainable_variables]
        return trainable, frozen

    def _joined(self, trainable: list[JaxArray], frozen: list[JaxArray]) -> list[JaxArray]:
        """The inverse of `_split`."""
        by_variable = dict(zip(map(id, self._model.trainable_variables), trainable, strict=True))
        by_variable |= zip(map(id, self._model.non_trainable_variables), frozen, strict=True)
        return [by_variable[id(v)] for v in self._model.variables]


def _without_softmax(model: KerasModel) -> tuple[KerasModel, bool]:
    """A classifier that gives logits, and true; or as it is where no softmax is its last act.

    The loss of a softmax's logits is exact where a probability is rounded to 0 or 1, and takes half
    of the kernels.
    """
    last = model.layers[-1]
    if getattr(last, "activation", None) is not keras.activations.softmax:
        return model, False
    last.activation = keras.activations.linear
    return model, True


def _tensor(name: str, variable: KerasVariable, initial: Initial) -> StateTensor:
    return StateTensor(
        name=name, shape=tuple(variable.shape), dtype=variable.dtype, initial=initial
    )
