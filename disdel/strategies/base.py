"""What a strategy decides: who trains in a round, on which terms, and what becomes of the updates.

A strategy is one class. Its fields are its parameters; they travel to the actions by value, so that
what an action computes is what the controller has. Everything that it decides is a pure function of
what it is given: a round that is repeated, or resumed, comes out the same.

Most strategies need no more of a round's updates than weighted sums, which are made wherever the
updates are: in collectWeights, in a tree of them, or in the containers that trained. Those that
must look at each update say so (`sees_each`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import ClassVar, Literal, get_origin, get_type_hints

import numpy as np

from disdel.errors import StrategyFailed, UsageError
from disdel.strategies.guarding import Wanted, guard
from disdel.types.arrays import Numbers
from disdel.types.checks import setting_of, taken
from disdel.types.names import Average

# Types of parameters that are checked without a `Setting`.
_CHECKED = (bool, int, float, str)


@dataclass(frozen=True, slots=True)
class Terms:
    """What every training step of a round adds to the gradients that its optimizer is given.

    Attributes:
        proximal: mu of `mu * (w - w_round)`, with the weights w and those that the round began
            with (FedProx).
        correction: the tensors of the server, by their name in `Strategy.kept`, that are added as
            they are. Before the first round there are none, and nothing is added.
        own_correction: the client's own tensors, by their name in `Strategy.own`, that are
            subtracted; nothing before its first round.
    """

    proximal: float = 0.0
    correction: str | None = None
    own_correction: str | None = None


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a client did in a round.

    Attributes:
        client: its number.
        steps: that it took.
        samples: that it saw, each as often as it did.
        loss: a mean over them.
        epochs: passes over its own samples.
        rate: the mean of its steps' learning rates; None where plain SGD did not take them.
        staleness: states that the server has made since the one that the client began with.
    """

    client: int
    steps: int
    samples: int
    loss: float
    epochs: float = 1.0
    rate: float | None = None
    staleness: int = 0


@dataclass(frozen=True, slots=True)
class LocalSgd:
    """The SGD that clients train with.

    Attributes:
        rate: its learning rate.
        momentum: its momentum, 0 for none.
        is_constant: whether the rate is the same at all steps.
        restarts: whether it begins anew each round.
    """

    rate: float
    momentum: float = 0.0
    is_constant: bool = True
    restarts: bool = True


@dataclass(frozen=True, slots=True)
class Block:
    """The same elements of several states, as float64 arrays, each (n,).

    Attributes:
        before: what the round began with.
        mean: the weighted mean of the round's updates, or what `Strategy.combine` made of them.
        kept: what the last round kept, by name.
        sums: of the changes (update - before), with the weights of `Strategy.sums`, by name.
        numbers: those of `Strategy.numbers`.
    """

    before: Numbers
    mean: Numbers
    kept: Mapping[str, Numbers]
    sums: Mapping[str, Numbers] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def change(self) -> Numbers:
        """What the round's updates have changed, in the mean."""
        return self.mean - self.before


@dataclass(frozen=True, slots=True)
class Advanced:
    """What `Strategy.advance` makes of a block: its next values, and what is kept; each (n,)."""

    next: Numbers
    kept: Mapping[str, Numbers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClientBlock:
    """The same elements of what a client has at the end of its round, as float64 arrays, each (n,).

    Attributes:
        before: what the round began with.
        after: what the client has made of it.
        kept: what the server has kept, by name.
        own: what the client has kept of its last round, by name.
        rate_sum: the learning rates of its steps, summed.
    """

    before: Numbers
    after: Numbers
    kept: Mapping[str, Numbers]
    own: Mapping[str, Numbers]
    rate_sum: float


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the updates of a round lie to one another, by the floating-point tensors of the model.

    Attributes:
        norms: the lengths of the changes (update - before), (updates,).
        distances: between any two updates, squared, (updates, updates).
    """

    norms: Numbers
    distances: Numbers


@dataclass(frozen=True)
class Strategy(ABC):
    """How the rounds of a run come to its model. Subclasses are frozen dataclasses.

    Attributes:
        name: by which a job asks for it.
        kept: what the server keeps of every trained weight between rounds, as the momentum of
            FedAvgM, with its value before the first round (see `first`).
        own: likewise what each client keeps.
        sees_each: whether `combine` must look at each update, so that no sums can stand for them.
        weighs: whether what updates weigh counts. A class whose `combine` looks at no weights says
            no, one derived from it whose own does says yes.
        measures: whether `combine` needs their `Geometry`, for which they are read once more.
        needs_sgd: whether it takes a client's steps for those of plain SGD, whose learning rates
            it must know.
        is_outer: whether it is an optimizer of the averaged change, and nothing else.
        awaits_all: whether it works on rounds; else on updates as they arrive, `buffer` at a time.
        mixes_states: whether an update that arrives late stands for its state, and not for its
            change since the state that its client began with.
        entry: `FILE.py:CLASS` of one of the user's own.
        average: what the user wants an update to weigh: the samples that it has seen, 1, or its
            passes over its own samples.

    Raises:
        UsageError: a parameter is of another type, or out of range.
    """

    name: ClassVar[str]
    kept: ClassVar[Mapping[str, float]] = {}
    own: ClassVar[Mapping[str, float]] = {}
    sees_each: ClassVar[bool] = False
    weighs: ClassVar[bool] = True
    measures: ClassVar[bool] = False
    needs_sgd: ClassVar[bool] = False
    is_outer: ClassVar[bool] = False
    awaits_all: ClassVar[bool] = True
    mixes_states: ClassVar[bool] = False
    entry: ClassVar[str | None] = None

    average: Average = "samples"

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__module__.startswith("disdel."):
            guard(cls, _DECISIONS)

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for name in (one.name for one in fields(self)):
            setting = setting_of(hints[name])
            called = f"{name} of strategy {self.name}"
            value = getattr(self, name)
            if setting is not None:
                value = taken(called, value, hints[name].__origin__)
                setting.check(called, value)
            elif hints[name] in _CHECKED or get_origin(hints[name]) is Literal:
                value = taken(called, value, hints[name])
            object.__setattr__(self, name, value)

    @abstractmethod
    def participants(self, roster: Sequence[int], number: int, seed: int) -> Sequence[int]:
        """Who trains in a round of a training; in a federation `--select` chooses, and all must.

        Args:
            roster: the clients that have something to train in it, ascending.
            number: of the round, from 1.
            seed: the run's.

        Returns:
            At least one of the roster, none twice.
        """

    @abstractmethod
    def weight(self, contribution: Contribution) -> float:
        """What an update counts in the mean: a positive number."""

    def terms(self) -> Terms | None:
        """What the steps add to the gradients; None for nothing, which costs nothing."""
        return None

    def sums(self, contribution: Contribution) -> Mapping[str, float]:  # noqa: ARG002
        """What an update's change counts in further sums, by name; the same names for all."""
        return {}

    def numbers(
        self,
        contributions: Sequence[Contribution],  # noqa: ARG002
        clients: int,  # noqa: ARG002
    ) -> Mapping[str, float]:
        """What `advance` is told of a round.

        Args:
            contributions: of those whose updates are averaged.
            clients: how many there are in the run.
        """
        return {}

    def check_sgd(self, sgd: LocalSgd) -> None:
        """Refuse what clients train with, of a strategy that `needs_sgd`; by default momentum.

        Raises:
            UsageError: it does not go with it.
        """
        if sgd.momentum:
            raise UsageError(
                f"strategy {self.name} takes a client's change for the sum of its gradients, which "
                f"SGD with momentum {sgd.momentum:g} is not: train with --optimizer sgd"
            )

    def check_updates(self, count: int) -> None:  # noqa: B027
        """Refuse a round of so many updates, if it cannot be combined.

        Raises:
            StrategyFailed: it cannot.
        """

    def combine(
        self,
        changes: Numbers,
        weights: Numbers,
        geometry: Geometry | None,  # noqa: ARG002
    ) -> Numbers:
        """The common change of a round, where the strategy sees each update; by default the mean.

        It is called for pieces of the state, also of what gradients do not train: statistics of
        batch normalisation and averaged optimizers. Of counters, the middle one is taken.

        Args:
            changes: update - before, ordered by client, (updates, n). All are numbers: who has
                sent others is left out before.
            weights: those of the updates, (updates,).
            geometry: how the updates lie, where the strategy `measures`.

        Returns:
            One change, (n,).
        """
        return mean_change(changes, weights)

    def counted(self, weights: Numbers, geometry: Geometry | None) -> Numbers:  # noqa: ARG002
        """What each update counts in what `combine` makes of them, for the ledger.

        By default it is the weight; a strategy that chooses some has 0 for the others.

        Args:
            weights: those of the updates, ordered by client, (updates,).
            geometry: how the updates lie, where the strategy `measures`.

        Returns:
            A number for each, (updates,).
        """
        return weights

    def advance(self, block: Block) -> Advanced:
        """The next values of some trained weights, and what is kept of them; by default the mean.

        It is called in the collectWeights action, more than once for the same block, and only where
        something is `kept` or the method is overridden. Of tensors that gradients do not train
        (counters, statistics of batch normalisation, optimizer state), the mean is taken.
        """
        return Advanced(block.mean)

    def client_keeps(self, block: ClientBlock) -> Mapping[str, Numbers]:
        """What a client keeps of some trained weights, by the names in `own`.

        It is called in the train action, at the end of the client's round.
        """
        return block.own

    def first(self, name: str) -> float:
        """The value before the first round of what is kept."""
        return self.kept[name]

    @property
    def ages_alike(self) -> bool:
        """Whether updates of one staleness have the same share of their weight left.

        Then one sum may stand for several of them. It counts where updates are taken as they come.
        """
        return False

    @property
    def advances(self) -> bool:
        """Whether the next state is something else than the mean of the updates."""
        return bool(self.kept) or type(self).advance is not Strategy.advance

    @property
    def wants_sums(self) -> bool:
        """Whether `advance` is given further sums of a round's changes."""
        return self.advances and type(self).sums is not Strategy.sums

    def sum_names(self) -> tuple[str, ...]:
        """The names of the further sums that `advance` is given."""
        if not self.wants_sums:
            return ()
        return tuple(self.sums(Contribution(client=0, steps=1, samples=1, loss=0.0, rate=1.0)))

    @property
    def is_whole(self) -> bool:
        """Whether one action must have all updates of a round: no partial means will do."""
        return self.sees_each or self.wants_sums

    @property
    def acts(self) -> bool:
        """Whether actions need its class: else all that it decides is the controller's."""
        return self.advances or self.sees_each or bool(self.own)


def _is_number(found: object) -> bool:
    return isinstance(found, Real)


def _are_named_numbers(found: object) -> bool:
    return isinstance(found, Mapping) and all(
        isinstance(name, str) and _is_number(value) for name, value in found.items()
    )


def _are_whole(found: Sequence[object]) -> bool:
    return all(isinstance(client, Integral) for client in found)


def _is_array(found: object) -> bool:
    return isinstance(found, np.ndarray) and found.dtype.kind in "iuf"


def _are_arrays(found: object) -> bool:
    return isinstance(found, Mapping) and all(map(_is_array, found.values()))


def _is_advanced(found: object) -> bool:
    return isinstance(found, Advanced) and _is_array(found.next) and _are_arrays(found.kept)


def _is_nothing(found: object) -> bool:
    return found is None


# What a class of somebody else's may return.
_DECISIONS: Mapping[str, Wanted] = {
    "participants": (_are_whole, "clients' numbers"),
    "weight": (_is_number, "a number"),
    "terms": (lambda found: found is None or isinstance(found, Terms), "Terms or None"),
    "sums": (_are_named_numbers, "numbers by name"),
    "numbers": (_are_named_numbers, "numbers by name"),
    "check_sgd": (_is_nothing, "nothing"),
    "check_updates": (_is_nothing, "nothing"),
    "combine": (_is_array, "an array of numbers"),
    "counted": (_is_array, "an array of numbers"),
    "advance": (_is_advanced, "Advanced with arrays of numbers"),
    "client_keeps": (_are_arrays, "arrays of numbers by name"),
    "first": (_is_number, "a number"),
}


def mean_change(changes: Numbers, weights: Numbers) -> Numbers:
    """The weighted mean of `changes`, (updates, n), added up in their order."""
    mean = np.zeros(changes.shape[1])
    for change, share in zip(changes, weights / weights.sum(), strict=True):
        mean += share * change
    return mean


def refused(strategy: Strategy, told: str) -> StrategyFailed:
    """An error of a strategy, with its name."""
    return StrategyFailed(f"strategy {strategy.name} {told}")
