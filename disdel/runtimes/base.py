"""What a framework must offer to train here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from disdel.errors import StoreError, UsageError
from disdel.types.arrays import Array, Tensors
from disdel.types.names import Precision

OPTIMIZER_PREFIX = "optimizer/"
# Steps of a rehearsal: fewer are told apart less well (docs/measurements.md).
_REHEARSED = 4


def split_state(state: Tensors) -> tuple[dict[str, Array], dict[str, Array]]:
    """Those tensors of a state, of any shape, that are the model's, and the optimizer's."""
    optimizer = {name: state[name] for name in state if name.startswith(OPTIMIZER_PREFIX)}
    return {name: state[name] for name in state if name not in optimizer}, optimizer


@dataclass(frozen=True, slots=True)
class Scored:
    """Sums over the samples of a batch.

    `correct` counts labels that were predicted correctly, of which a sample has one or more; None
    where there are no classes. `metric_sums` has each further metric by its name. `labels` says how
    many labels count, where trainers have masks that leave some out; None where all count. Sums of
    metrics are then over as many samples as have so many labels.
    """

    loss_sum: float
    correct: int | None
    metric_sums: Mapping[str, float] = field(default_factory=dict)
    labels: int | None = None


def sum_of(batches: Iterable[Scored]) -> Scored:
    """The sums over several batches of one model, at least one."""
    first, *others = batches
    metric_sums = dict(first.metric_sums)
    loss_sum, correct, labels = first.loss_sum, first.correct, first.labels
    for scored in others:
        loss_sum += scored.loss_sum
        if correct is not None and scored.correct is not None:
            correct += scored.correct
        if labels is not None and scored.labels is not None:
            labels += scored.labels
        for name, value in scored.metric_sums.items():
            metric_sums[name] += value
    return Scored(loss_sum, correct, metric_sums, labels)


@dataclass(frozen=True, slots=True)
class AddedTerms:
    """What is added to the gradients of each step: `proximal` · w + `shift`, w being the weights.

    With w₀ the weights that the round began with, mu (w - w₀) is `proximal` mu and `shift` -mu w₀;
    a control variate is a shift alone.

    Attributes:
        proximal: 0 for none.
        shift: of trained tensors by their names in the state, float32 and of their shapes.
    """

    proximal: float
    shift: Tensors


class Trainer(ABC):
    """A model, its optimizer and its loss in one framework, driven block by block.

    The state is everything that decides what the next step does: weights, other variables of the
    model, and the optimizer's, whose names begin with `OPTIMIZER_PREFIX`. Samples arrive as they
    are stored (uint8 images are scaled inside).

    Attributes:
        model_suffix: of the files that `save_model` writes.
        takes_seeds: whether a step draws random numbers, which begin with a seed of its own.
    """

    model_suffix: ClassVar[str]
    takes_seeds: bool = True

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """The state by stable names: equal for every worker of a run, whatever it ran before.

        Tensors have the shapes of the framework's variables; the names of those of the optimizer's
        state begin with `OPTIMIZER_PREFIX`.
        """

    def peek(self) -> dict[str, Array]:
        """The state as `state()` gives it, perhaps in the trainer's own memory.

        It is to be read, and until the next step or `load_state` alone.
        """
        return self.state()

    @abstractmethod
    def load_state(self, tensors: Tensors) -> None:
        """Continue from `tensors`, as `state()` gave them.

        Where they have none of the optimizer's, the optimizer starts anew.

        Raises:
            StoreError: names, shapes or dtypes are not those of this model and optimizer.
        """

    @abstractmethod
    def trained(self) -> tuple[str, ...]:
        """The names of the tensors of the state that steps change by gradients."""

    def frozen(self) -> tuple[str, ...]:
        """The names of the tensors of the model that no step changes: those of frozen layers.

        Of what gradients do not train, those that the framework says so of; statistics of layers
        that are trained are not among them.
        """
        return ()

    @abstractmethod
    def add_terms(self, terms: AddedTerms | None) -> None:
        """Add `terms` to the gradients of all steps from now on; None is for nothing.

        They are added once a step, to what the optimizer is given: to the whole batch's gradients,
        in the unit of the loss. A weight that the loss does not depend on stays as it is. The loss
        that is told is without them.

        Raises:
            UsageError: this trainer cannot.
        """

    def compute_in(self, precision: Precision) -> None:
        """Take all steps from now on in `precision`; weights and optimizer stay float32.

        Raises:
            UsageError: this trainer cannot.
        """
        if precision != "float32":
            raise UsageError(f"this trainer computes in float32, not {precision}")

    def rehearsal(self, x: Array, y: Array) -> Callable[[Precision], object]:
        """What compares precisions: a call does what the time of steps in one of them hangs on.

        By default it takes steps, and the state is another one afterwards.

        Args:
            x: samples of one step, (batch, *input_shape).
            y: their labels, (batch, *target_shape).
        """
        block = x[None].repeat(_REHEARSED, 0), y[None].repeat(_REHEARSED, 0)
        # As the steps that follow, so that these need no graph of their own.
        seeds = np.arange(_REHEARSED, dtype=np.uint32) if self.takes_seeds else None

        def take(precision: Precision) -> None:
            self.compute_in(precision)
            self.train(*block, seeds=seeds)

        return take

    def share_steps(self, clients: int) -> None:  # noqa: B027
        """Take all steps from now on as one of so many clients that share a run's steps.

        A step then moves averages of batch statistics as far as so many steps of the framework's
        would: of a momentum m, m ** clients of the old value stays. So they lag behind as many of
        the run's steps as where one client takes all. One client is the framework's own way, and
        what trainers without such averages do is nothing.
        """

    @abstractmethod
    def train(
        self,
        x: Array,
        y: Array,
        micro_batches: int = 1,
        rate_factors: Array | None = None,
        seeds: Array | None = None,
    ) -> float:
        """Take one optimizer step a batch.

        Args:
            x: samples, (steps, batch, *input_shape).
            y: class numbers, (steps, batch, *target_shape) int32, or numbers to predict, float32.
            micro_batches: parts into which each batch is cut to save memory; their gradients are
                added up, so that the step is the whole batch's (but for layers that look at a
                batch as a whole, as batch normalisation does).
            rate_factors: what the learning rate is multiplied by, (steps,) float32; None is 1.
            seeds: of each step's random numbers, (steps,) uint32, where these are not drawn from
                the state itself; with None they go on from wherever they are.

        Returns:
            The sum over the samples of their loss, each at its step.
        """

    @abstractmethod
    def score(self, x: Array, y: Array) -> Scored:
        """How the model does on a batch.

        Args:
            x: samples, (batch, *input_shape).
            y: class numbers, (batch, *target_shape) int32, or numbers to predict, float32.
        """

    @abstractmethod
    def save_model(self, path: Path) -> None:
        """Write the model with its weights to `path`, without its optimizer."""


def check_state(shapes: Mapping[str, tuple[int, ...]], tensors: Tensors) -> None:
    """Whether `tensors` are a state of a trainer whose own has these names and shapes.

    Raises:
        StoreError: they are not.
    """
    if shapes.keys() != tensors.keys():
        odd = sorted(shapes.keys() ^ tensors.keys())
        raise StoreError(f"the stored state is of another network or optimizer: {odd[:3]}")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise StoreError(
                f"{name} is stored as {tensors[name].shape} and the network has {shape}"
            )
