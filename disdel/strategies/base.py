"""What a strategy decides: who trains in a round, on which terms, and what becomes of the updates.

A strategy is one class. Its fields are its parameters; they travel to the actions by value, so that
what an action computes is what the controller has. Everything that it decides is a pure function of
what it is given: a round that is repeated, or resumed, comes out the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from disdel.types.arrays import Array
from disdel.types.names import Average


@dataclass(frozen=True, slots=True)
class Terms:
    """What every training step of a round adds to the gradients that its optimizer is given.

    Attributes:
        proximal: mu of `mu * (w - w_round)`, with the weights w and those that the round began
            with (FedProx).
        correction: the kept tensors, by their name in `Strategy.kept`, that are added as they are.
            Before the first round there are none, and nothing is added.
    """

    proximal: float = 0.0
    correction: str | None = None


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a client did in a round: steps taken, samples seen, and its loss, a mean over them."""

    client: int
    steps: int
    samples: int
    loss: float


@dataclass(frozen=True, slots=True)
class Block:
    """The same elements of several states, as arrays of one floating dtype, each (n,).

    Attributes:
        before: what the round began with.
        mean: the weighted mean of the round's updates.
        kept: what the last round kept, by name.
    """

    before: Array
    mean: Array
    kept: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Advanced:
    """What `Strategy.advance` makes of a block: its next values, and what is kept; each (n,)."""

    next: Array
    kept: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Strategy(ABC):
    """How the rounds of a run come to its model. Subclasses are frozen dataclasses.

    Attributes:
        name: by which a job asks for it.
        kept: what the server keeps of every trained weight between rounds, as the momentum of
            FedAvgM, with its value before the first round.
        average: what the user wants an update to weigh: the samples that it has seen, or 1.
    """

    name: ClassVar[str]
    kept: ClassVar[Mapping[str, float]] = {}

    average: Average = "samples"

    @abstractmethod
    def participants(self, roster: Sequence[int], number: int, seed: int) -> Sequence[int]:
        """Who trains in a round.

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

    def advance(self, block: Block) -> Advanced:
        """The next values of some trained weights, and what is kept of them; by default the mean.

        It is called in the collectWeights action, more than once for the same block, and only where
        something is `kept` or the method is overridden. Of tensors that gradients do not train
        (counters, statistics of batch normalisation, optimizer state), the mean is taken.
        """
        return Advanced(block.mean)

    @property
    def advances(self) -> bool:
        """Whether the next state is something else than the mean of the updates."""
        return bool(self.kept) or type(self).advance is not Strategy.advance
