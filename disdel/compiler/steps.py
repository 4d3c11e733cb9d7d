"""The functions of a program: a training step and a score, as StableHLO text. Imports JAX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax

from disdel.compiler.crossentropies import of_logits
from disdel.compiler.draws import Draws
from disdel.compiler.initial import initial_of
from disdel.compiler.layers import training_step, vectors
from disdel.compiler.lowering import draws_at_random, lowered, without_values
from disdel.compiler.network import LoweredNetwork
from disdel.compiler.recipe import ACTIVATIONS, Recipe
from disdel.protocol.program import Initial, StateTensor
from disdel.runtimes.keras.frozen import frozen_variables
from disdel.runtimes.keras.statistics import moving_layers

KerasModel = Any
KerasVariable = Any
JaxArray = Any


class Steps:
    """A network, its optimizer and its recipe as pure functions of the state.

    Args:
        network: what is compiled.
        input_dtype: numpy name of the samples' dtype.
        adds_terms: whether a training step adds terms to its gradients.

    Raises:
        UsageError: a layer or an initializer cannot be compiled.
    """

    def __init__(
        self, network: LoweredNetwork, *, input_dtype: str, adds_terms: bool = False
    ) -> None:
        self._guarded = network.guarded
        model = self._guarded(lambda: lowered(network.model))
        self._model, self._recipe = _without_activation(model, network.recipe)
        self._input_dtype = input_dtype
        self._takes = self._model.inputs[0].dtype
        self._optimizer = network.optimizer
        # Nadam makes a variable of a value.
        has_values = isinstance(self._optimizer, keras.optimizers.Nadam)
        with nullcontext() if has_values else without_values():
            self._optimizer.build(self._model.trainable_variables)
        self.draws = draws_at_random(self._model)
        self.moves = bool(moving_layers(self._model))
        self._adds_terms = adds_terms
        self.model_tensors = len(self._model.variables)
        self.tensors = (*self._model_tensors(), *self._optimizer_tensors())
        names = [tensor.name for tensor in self.tensors[: self.model_tensors]]
        self.trained = tuple(self._split(names)[0])
        frozen = frozen_variables(self._model)
        variables = zip(names, self._model.variables, strict=True)
        self.frozen = tuple(name for name, variable in variables if id(variable) in frozen)

    def _model_tensors(self) -> Iterator[StateTensor]:
        for i, variable in enumerate(self._model.variables):
            name = f"model/{i:04d}/{variable.path}"
            yield _tensor(name, variable, initial_of(variable))

    def _optimizer_tensors(self) -> Iterator[StateTensor]:
        for i, variable in enumerate(self._optimizer.variables):
            name = f"optimizer/{i:04d}/{variable.path}"
            yield _tensor(name, variable, _begin_of(variable))

    def train_text(self, batch_size: int, *, wide: bool) -> bytes:
        """One training step of `batch_size` samples as StableHLO, for CPUs with `wide` vectors."""
        more: list[tuple[tuple[int, ...], str]] = [((), "uint32")] if self.draws else []
        more += [((), "float32")] if self.moves else []
        if self._adds_terms:
            trained = self._split(self.tensors[: self.model_tensors])[0]
            more += [((), "float32"), *((tensor.shape, "float32") for tensor in trained)]
        return self._text(self._train, self.tensors, batch_size, more, wide=wide)

    def score_text(self, batch_size: int, *, wide: bool) -> bytes:
        """The score of `batch_size` samples as StableHLO, for CPUs with `wide` vectors."""
        state = self.tensors[: self.model_tensors]
        return self._text(self._score, state, batch_size, wide=wide)

    def _text(
        self,
        function: Any,
        state: tuple[StateTensor, ...],
        batch_size: int,
        more: Sequence[tuple[tuple[int, ...], str]] = (),
        *,
        wide: bool,
    ) -> bytes:
        shape = (batch_size, *self._model.input_shape[1:])
        arguments = [
            *((tensor.shape, tensor.dtype) for tensor in state),
            (shape, self._input_dtype),
            ((batch_size,), "float32" if self._recipe.target == "number" else "int32"),
            ((batch_size,), "float32"),
            *more,
        ]
        # The caller passes the whole state, used or not.
        # Anew for each kind of vectors: JAX keeps what it has traced of the same function.
        jitted = jax.jit(lambda *values: function(*values), keep_unused=True)
        specs = [jax.ShapeDtypeStruct(*argument) for argument in arguments]  # type: ignore[no-untyped-call]
        with without_values(), vectors(wide=wide), of_logits():
            traced = self._guarded(lambda: jitted.trace(*specs))
            module = traced.lower(lowering_platforms=("cpu",))
            # It does not say where in the sources it comes from: a fifth of IREE's time.
            text: str = module.as_text()
            return text.encode()

    def _train(self, *arguments: JaxArray) -> tuple[JaxArray, ...]:
        count = len(self.tensors)
        state, (x, y, weights, *more) = arguments[:count], arguments[count:]
        seed, *more = more if self.draws else [jnp.uint32(0), *more]
        clients, *terms = more if self.moves else [jnp.float32(1), *more]
        trainable, frozen = self._split(state[: self.model_tensors])
        slots = state[self.model_tensors :]

        def mean_loss(trainable: list[JaxArray]) -> tuple[JaxArray, list[JaxArray]]:
            with training_step(weights, Draws(seed), clients):
                outputs, changed, penalties = self._model.stateless_call(
                    trainable, frozen, x.astype(self._takes), training=True, return_losses=True
                )
            loss = (self._recipe.losses(y, outputs) * weights).sum() / weights.sum()
            return sum(penalties, loss) / self._recipe.loss_unit, changed

        gradient = jax.value_and_grad(mean_loss, has_aux=True)
        (loss, frozen), gradients = gradient(trainable)
        # Fused with the product that gives it, an update reads and writes across the grain.
        gradients = lax.optimization_barrier(gradients)  # type: ignore[no-untyped-call]
        used = _depends_on_anything(lambda values: gradient(values)[1], trainable)
        gradients = [g if is_used else None for g, is_used in zip(gradients, used, strict=True)]
        if terms:
            proximal, *shift = terms
            gradients = [
                None if gradient is None else gradient + proximal * weight + added
                for gradient, weight, added in zip(gradients, trainable, shift, strict=True)
            ]
        trainable, slots = self._optimizer.stateless_apply(slots, gradients, trainable)
        loss_sum = loss * self._recipe.loss_unit * weights.sum()
        return (*self._joined(trainable, frozen), *slots, loss_sum)

    def _score(self, *arguments: JaxArray) -> tuple[JaxArray, ...]:
        *state, x, y, weights = arguments
        trainable, frozen = self._split(state)
        outputs, _, penalties = self._model.stateless_call(
            trainable, frozen, x.astype(self._takes), training=False, return_losses=True
        )
        hits = self._recipe.hits(y, outputs) & (weights > 0)
        sums = [
            (values * weights).sum()
            for values in (self._recipe.losses(y, outputs), *self._recipe.measures(y, outputs))
        ]
        # A penalty is added to the mean, as `evaluate` has it.
        loss = sum((penalty * weights.sum() for penalty in penalties), sums[0])
        return (loss, hits.astype(jnp.int32).sum(), *sums[1:])

    def _split(self, values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
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


def _without_activation(model: KerasModel, recipe: Recipe) -> tuple[KerasModel, Recipe]:
    """A model that gives logits and the recipe for those, where its last act makes probabilities
    of them; else both as they are.

    The loss of logits is exact where a probability is rounded to 0 or 1, and takes half of the
    kernels. A loss of the user's own is given what the model gives.
    """
    last, calls = model, 0
    while inner := getattr(last, "operations", None) or getattr(last, "layers", None):
        last = inner[-1]
        calls = max(calls, len(last._inbound_nodes))
    activation = ACTIVATIONS.get(recipe.target)
    if (
        recipe.loss is not None
        or activation is None
        or getattr(last, "activation", None) is not activation
        # Its activation is to go where the model ends, and nowhere else.
        or calls > 1
    ):
        return model, recipe
    last.activation = keras.activations.linear
    return model, replace(recipe, gives_probabilities=False)


def _depends_on_anything(gradient: Any, trainable: list[JaxArray]) -> list[bool]:
    """Which gradients are more than zeros that JAX makes up, where the loss lacks a variable.

    Keras's optimizers leave alone what has no gradient; a zero would still decay it.
    """
    jaxpr = jax.make_jaxpr(gradient)(trainable).jaxpr
    told = {*jaxpr.invars, *jaxpr.constvars}
    for equation in jaxpr.eqns:
        if any(not hasattr(v, "val") and v in told for v in equation.invars):
            told.update(equation.outvars)
    # A literal has a value, and is told by nothing.
    return [not hasattr(v, "val") and v in told for v in jaxpr.outvars]


def _begin_of(variable: KerasVariable) -> Initial:
    """How a slot or counter of an optimizer begins: as one number throughout."""
    if variable._initializer is not None:
        return initial_of(variable)
    return Initial(kind="constant", center=float(np.ravel(variable)[0]))


def _tensor(name: str, variable: KerasVariable, initial: Initial) -> StateTensor:
    return StateTensor(
        name=name, shape=tuple(variable.shape), dtype=variable.dtype, initial=initial
    )
