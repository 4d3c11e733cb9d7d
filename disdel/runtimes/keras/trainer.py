"""Keras 3 on TensorFlow, driven by a compiled loop over several steps.

One graph call takes a block of batches and runs an optimizer step for each, so that the Python cost
of a step is paid once a block. Measured beside `model.fit` on the same network in
`experiments/main_job`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from disdel.errors import UsageError
from disdel.runtimes.base import AddedTerms, Scored, Trainer, check_state, split_state
from disdel.runtimes.keras.draws import Draws, drawn_from, is_generator
from disdel.runtimes.keras.frozen import frozen_variables
from disdel.runtimes.keras.masks import mask_of, masked
from disdel.runtimes.keras.optimizer import DrivenOptimizer
from disdel.runtimes.keras.precision import mixed_bfloat16
from disdel.runtimes.keras.recipe import KerasRecipe, recipe_for
from disdel.runtimes.keras.rehearsal import products_of
from disdel.runtimes.keras.statistics import moving_layers, shared_steps
from disdel.types.arrays import Array, Tensors
from disdel.types.names import Precision

# Neither Keras nor TensorFlow ships types.
KerasModel = Any
KerasOptimizer = Any
Graph = Any


class KerasTrainer(Trainer):
    """Trains a built Keras model.

    Args:
        model: an uncompiled model from stored samples, in the dtype of its input, to what the
            recipe's loss takes.
        optimizer: a name of `disdel.types.OPTIMIZERS`, or a Keras optimizer of its own.
        learning_rate: None for the optimizer's own default.
        input_dtype: numpy name of the samples' dtype.
        recipe: how it is trained; by default the model gives class probabilities.
        converts: whether Python's own conditions and loops in model and recipe are to become
            TensorFlow's; without any, that only takes time, most of what a graph takes.
        precision: what training steps compute in; scores are the saved model's, in float32.
        takes_seeds: whether model or recipe may draw random numbers.
    """

    model_suffix = ".keras"

    def __init__(
        self,
        model: KerasModel,
        *,
        optimizer: str | KerasOptimizer,
        learning_rate: float | None,
        input_dtype: str,
        recipe: KerasRecipe | None = None,
        converts: bool = True,
        precision: Precision = "float32",
        takes_seeds: bool = True,
    ) -> None:
        import tensorflow as tf

        self.takes_seeds = takes_seeds
        self._model = model
        self._generators = {
            name: (state, np.asarray(state))
            for name, state in self._model_variables().items()
            if is_generator(state)
        }
        self._takes = tf.as_dtype(model.inputs[0].dtype)
        self._recipe = recipe or recipe_for("class", probabilities=True)
        made = _optimizer(optimizer) if isinstance(optimizer, str) else optimizer
        self._optimizer = DrivenOptimizer(made, learning_rate, model.trainable_variables)
        label = tf.float32 if self._recipe.target == "number" else tf.int32
        samples = tf.TensorSpec((None, None, *model.input_shape[1:]), tf.as_dtype(input_dtype))
        labels = tf.TensorSpec((None, None, *self._recipe.label_shape), label)
        of_steps = (tf.TensorSpec((None,), tf.float32), tf.TensorSpec((None,), tf.int64))
        self._block = (samples, labels, *of_steps)
        self._terms: _Terms | None = None
        self._has_terms = False
        self._moving = moving_layers(model)
        self._clients = 1
        self.compute_in(precision)
        batch = tf.TensorSpec((None, *model.input_shape[1:]), samples.dtype)
        self._scored = (batch, tf.TensorSpec(labels.shape[1:], label))
        self.convert_loops(converts)

    def convert_loops(self, converts: bool) -> None:
        """Make all graphs from now on with or without Python's own conditions and loops."""
        import tensorflow as tf

        self._converts = converts
        # By precision, whether there are terms, clients that averages depend on, whether draws
        # follow from seeds, and whether batches are cut.
        self._graphs: dict[tuple[Precision, bool, int, bool, bool], Graph] = {}
        self._score_batch = tf.function(
            self._score, input_signature=self._scored, autograph=converts
        )

    def _steps(
        self,
        x: Any,
        y: Any,
        factors: Any,
        seeds: Any,
        *,
        terms: _Terms | None,
        draws: Draws,
    ) -> Any:
        import tensorflow as tf

        def take(step: Any, loss_sum: Any) -> tuple[Any, Any]:
            draws.begin(seeds[step])
            loss, gradients = self._gradients(*self._augmented(x[step], y[step]))
            self._apply(gradients, factors[step], terms)
            return step + 1, loss_sum + loss

        steps = tf.shape(x)[0]
        _, loss_sum = tf.while_loop(lambda step, _: step < steps, take, (0, 0.0))
        return loss_sum * tf.cast(tf.shape(x)[1], tf.float32)

    def _apply(self, gradients: list[Any], factor: Any, terms: _Terms | None) -> None:
        """Update for the gradients of a batch, with the terms where there are some."""
        import tensorflow as tf

        if terms is not None:
            trained = self._model.trainable_variables
            gradients = [
                # Those of an embedding come as the rows that were looked up.
                None
                if gradient is None
                else tf.convert_to_tensor(gradient)
                + self._optimizer.scaled(terms.proximal * variable + shift)
                for gradient, variable, shift in zip(gradients, trained, terms.shift, strict=True)
            ]
        self._optimizer.apply(gradients, factor)

    def _augmented(self, x: Any, y: Any) -> tuple[Any, Any]:
        """A whole batch as training takes it, the samples in the dtype of the model's input."""
        import tensorflow as tf

        x = tf.cast(x, self._takes)
        if self._recipe.augment is None:
            return x, y
        shape = x.shape
        x, y = self._recipe.augment(x, y)
        if self._takes.is_integer and not x.dtype.is_integer:
            raise UsageError(
                f"augment gave {x.dtype.name}, and the model takes {self._takes.name}: give "
                "integers, or a model whose keras.Input is float32"
            )
        return tf.ensure_shape(tf.cast(x, self._takes), shape), y

    def _outputs(self, x: Any, *, training: bool) -> Any:
        """What the model gives for such samples, float32, with the mask that Keras has for it."""
        import tensorflow as tf

        mixed = training and self._precision == "bfloat16"
        with (
            mixed_bfloat16(self._model) if mixed else nullcontext(),
            shared_steps(self._moving, self._clients),
        ):
            given = self._model(x, training=training)
        return masked(tf.cast(given, tf.float32), mask_of(given))

    def _gradients(
        self, x: Any, y: Any, loss_share: Any = 1.0, size_share: Any = 1.0
    ) -> tuple[Any, list[Any]]:
        """Mean loss of a batch, and its gradients in the recipe's unit; None for variables that it
        does not depend on.

        Of a part of a batch, the loss counts `loss_share` and penalties `size_share`.
        """
        import tensorflow as tf

        with tf.GradientTape() as tape:
            outputs = self._outputs(x, training=True)
            loss = self._recipe.loss(self._recipe.wanted(y), outputs) * loss_share
            loss = self._penalised(loss, size_share)
            scaled = self._optimizer.scaled(loss / self._recipe.loss_unit)
        return loss, tape.gradient(scaled, self._model.trainable_variables)

    def _penalised(self, loss: Any, share: Any = 1.0) -> Any:
        """A loss with what regularizers and `add_loss` of the last call add, as in `fit`."""
        import tensorflow as tf

        return sum((tf.cast(penalty, loss.dtype) * share for penalty in self._model.losses), loss)

    @cached_property
    def _has_mask(self) -> bool:
        """Whether outputs have a mask, as a graph tells that nobody runs."""
        import tensorflow as tf

        found: list[Any] = []
        samples = tf.TensorSpec((None, *self._model.input_shape[1:]), self._takes)

        def look(x: Any) -> None:
            found.append(mask_of(self._outputs(x, training=False)))

        tf.function(look, autograph=self._converts).get_concrete_function(samples)
        return found[-1] is not None

    def _steps_in_parts(
        self,
        x: Any,
        y: Any,
        factors: Any,
        seeds: Any,
        parts: Any,
        *,
        terms: _Terms | None,
        draws: Draws,
    ) -> Any:
        """As `_steps`, with each batch in `parts` parts whose gradients are added up."""
        import tensorflow as tf

        batch = tf.shape(x)[1]
        variables = self._model.trainable_variables
        # Found out while the loop is written as a graph, and the same in every part.
        connected: set[int] = set()

        def take(step: Any, loss_sum: Any) -> tuple[Any, Any]:
            draws.begin(seeds[step])
            samples, labels = self._augmented(x[step], y[step])
            # Of this call the graph keeps what a mask is made of, and what layers change beside it.
            mask = mask_of(self._outputs(samples, training=False)) if self._has_mask else None
            weights = self._recipe.weights(labels, mask)

            def add(part: Any, loss_sum: Any, totals: list[Any]) -> tuple[Any, Any, list[Any]]:
                start, stop = part * batch // parts, (part + 1) * batch // parts
                loss, gradients = self._gradients(
                    samples[start:stop],
                    labels[start:stop],
                    self._recipe.share(weights[start:stop], weights),
                    tf.cast(stop - start, tf.float32) / tf.cast(batch, tf.float32),
                )
                connected.update(i for i, g in enumerate(gradients) if g is not None)
                totals = [
                    # Those of an embedding come as the rows that were looked up.
                    total if gradient is None else total + tf.convert_to_tensor(gradient)
                    for total, gradient in zip(totals, gradients, strict=True)
                ]
                return part + 1, loss_sum + loss, totals

            nothing = [tf.zeros_like(variable) for variable in variables]
            begun = (0, loss_sum, nothing)
            _, loss_sum, totals = tf.while_loop(lambda part, *_: part < parts, add, begun)
            gradients = [total if i in connected else None for i, total in enumerate(totals)]
            self._apply(gradients, factors[step], terms)
            return step + 1, loss_sum

        steps = tf.shape(x)[0]
        _, loss_sum = tf.while_loop(lambda step, _: step < steps, take, (0, 0.0))
        return loss_sum * tf.cast(batch, tf.float32)

    def _score(self, x: Any, y: Any) -> Any:
        import tensorflow as tf

        recipe, samples = self._recipe, tf.cast(tf.shape(y)[0], tf.float32)
        outputs = self._outputs(tf.cast(x, self._takes), training=False)
        loss = self._penalised(recipe.loss(recipe.wanted(y), outputs))
        given, mask = recipe.probabilities(outputs), mask_of(outputs)
        labels = tf.math.count_nonzero(recipe.counts(y, mask))
        # As many samples as have so many labels.
        counted = samples * tf.cast(labels / tf.size(y, labels.dtype), samples.dtype)
        metrics = [metric(recipe.wanted(y), given) * counted for metric in recipe.metrics.values()]
        return loss * samples, recipe.correct(y, outputs), labels, metrics

    def train(
        self,
        x: Array,
        y: Array,
        micro_batches: int = 1,
        rate_factors: Array | None = None,
        seeds: Array | None = None,
    ) -> float:
        parts = min(micro_batches, x.shape[1]) if self._recipe.cuts else 1
        factors = np.ones(len(x), np.float32) if rate_factors is None else rate_factors
        begins = np.zeros(len(x), np.int64) if seeds is None else seeds.astype(np.int64)
        graph = self._graph(seeded=seeds is not None, cut=parts > 1)
        cut_into = (parts,) if parts > 1 else ()
        return float(graph(x, y, factors, begins, *cut_into))

    def _graph(self, *, seeded: bool, cut: bool) -> Graph:
        """The graph of such steps as are to be taken now."""
        kind = (self._precision, self._has_terms, self._clients, seeded, cut)
        if kind not in self._graphs:
            self._graphs[kind] = self._traced(seeded=seeded, cut=cut)
        return self._graphs[kind]

    def _traced(self, *, seeded: bool, cut: bool) -> Graph:
        """A graph of a block of steps; without terms or seeds, nothing in it knows of any."""
        import tensorflow as tf

        signature = (*self._block, tf.TensorSpec((), tf.int32)) if cut else self._block
        terms = self._terms if self._has_terms else None
        draws = Draws([state for state, _ in self._generators.values()] if seeded else [])
        whole = self._steps_in_parts if cut else self._steps
        while True:
            graph = tf.function(
                partial(whole, terms=terms, draws=draws),
                input_signature=signature,
                autograph=self._converts,
            )
            if not seeded:
                return graph
            # Where other code draws, from generators of its own, only tracing it tells.
            with drawn_from() as states:
                graph.get_concrete_function()
            if not draws.add(states):
                return graph

    def graphs(self) -> list[Graph]:
        """Those of steps that were traced so far."""
        return [graph.get_concrete_function().graph for graph in self._graphs.values()]

    def compute_in(self, precision: Precision) -> None:
        self._precision = precision

    def rehearsal(self, x: Array, y: Array) -> Callable[[Precision], object]:
        return products_of(self._model, len(x)) or super().rehearsal(x, y)

    def share_steps(self, clients: int) -> None:
        # Where there are none, one graph serves any number.
        self._clients = clients if self._moving else 1

    def trained(self) -> tuple[str, ...]:
        named = {id(variable): name for name, variable in self._model_variables().items()}
        return tuple(named[id(variable)] for variable in self._model.trainable_variables)

    def frozen(self) -> tuple[str, ...]:
        frozen = frozen_variables(self._model)
        return tuple(name for name, v in self._model_variables().items() if id(v) in frozen)

    def add_terms(self, terms: AddedTerms | None) -> None:
        self._has_terms = terms is not None
        if terms is None:
            return
        if self._terms is None:
            self._terms = _Terms.of(self._model.trainable_variables)
        self._terms.assign(terms, self.trained())

    def score(self, x: Array, y: Array) -> Scored:
        with self._optimizer.final_weights():
            loss_sum, correct, labels, metric_sums = self._score_batch(x, y)
        sums = zip(self._recipe.metrics, map(float, metric_sums), strict=True)
        return Scored(
            float(loss_sum),
            None if self._recipe.target == "number" else int(correct),
            dict(sums),
            labels=int(labels),
        )

    def state(self) -> dict[str, Array]:
        read = {name: np.asarray(variable) for name, variable in self._variables().items()}
        return read | self._begun_draws()

    def peek(self) -> dict[str, Array]:
        read = {name: _view(variable) for name, variable in self._variables().items()}
        return read | self._begun_draws()

    def _begun_draws(self) -> dict[str, Array]:
        """What generators were loaded with: steps begin them anew, and scores leave no trace."""
        return {name: np.array(begun) for name, (_, begun) in self._generators.items()}

    def load_state(self, tensors: Tensors) -> None:
        variables = self._variables()
        if not split_state(tensors)[1]:
            tensors = {**tensors, **self._optimizer.fresh()}
        check_state({name: tuple(v.shape) for name, v in variables.items()}, tensors)
        for name, variable in variables.items():
            variable.assign(tensors[name])
        self._generators = {
            name: (state, np.array(tensors[name])) for name, (state, _) in self._generators.items()
        }

    def _variables(self) -> dict[str, Any]:
        averages, optimizer = self._optimizer.averages(), self._optimizer.variables()
        return self._model_variables() | averages | optimizer

    def _model_variables(self) -> dict[str, Any]:
        return {f"model/{i:04d}/{v.path}": v for i, v in enumerate(self._model.variables)}

    def save_model(self, path: Path) -> None:
        for state, begun in self._generators.values():
            state.assign(begun)
        with self._optimizer.final_weights():
            (self._recipe.exported or self._model).save(path)


class _Terms:
    """Added terms, one number and a shift for each trained variable, where graphs read them."""

    def __init__(self, proximal: Any, shift: list[Any]) -> None:
        self.proximal = proximal
        self.shift = shift

    @classmethod
    def of(cls, variables: Sequence[Any]) -> _Terms:
        import tensorflow as tf

        def zeros(shape: Any) -> Any:
            return tf.Variable(tf.zeros(shape), trainable=False)

        return cls(zeros(()), [zeros(variable.shape) for variable in variables])

    def assign(self, terms: AddedTerms, names: Sequence[str]) -> None:
        self.proximal.assign(terms.proximal)
        for name, shift in zip(names, self.shift, strict=True):
            shift.assign(terms.shift[name] if name in terms.shift else np.zeros(shift.shape))


def _view(variable: Any) -> Array:
    """What a variable holds, not copied where it need not be: that takes as long as to store it."""
    try:
        return np.asarray(memoryview(variable.value.read_value()))
    except ValueError:  # Python's buffers have no bfloat16.
        return np.asarray(variable)


def _optimizer(name: str) -> KerasOptimizer:
    import keras

    if name == "adam":
        from disdel.runtimes.keras.fused_adam import FusedAdam

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
