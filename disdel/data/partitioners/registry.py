"""The partitioners that there are, by the name that stands before the colon of `--partition`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy.typing as npt

from disdel.errors import PartitionError, UsageError
from disdel.types.assignment import Assignment, Positions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """What a partitioner is asked for.

    Attributes:
        samples: those of the training split.
        clients: among how many they are to be dealt, at least 1 and at most `samples`.
        seed: the run's; the same one deals the same way.
        number: what stands behind the colon, of a partitioner that takes a number.
        read_labels: reads the labels, where they are needed.
    """

    samples: int
    clients: int
    seed: int
    number: float = math.nan
    read_labels: Callable[[], npt.NDArray[Any]]

    @property
    def labels(self) -> npt.NDArray[Any]:
        """Class numbers (int32) or numbers to predict (float32) of all samples, (samples,)."""
        return self.read_labels()

    @property
    def whole_number(self) -> int:
        """The number behind the colon, where it counts something.

        Raises:
            PartitionError: it is not whole.
        """
        if self.number != int(self.number):
            raise PartitionError(f"{self.number:g} is no whole number")
        return int(self.number)


Partitioner: TypeAlias = Callable[[Asked], Assignment | Sequence[Positions]]
P = TypeVar("P", bound=Partitioner)


@dataclass(frozen=True, slots=True)
class Registered:
    """A partitioner; `number` is the name of the number that it takes, or empty."""

    name: str
    number: str
    deal: Partitioner

    @property
    def usage(self) -> str:
        return f"{self.name}:{self.number}" if self.number else self.name


_REGISTERED: dict[str, Registered] = {}


def partitioner(usage: str) -> Callable[[P], P]:
    """Register a function as the partitioner of a name: `iid`, or `shards:K` if it takes a number.

    The function says which positions of the training split each client owns: one array a client,
    ascending or not, or an `Assignment`. That all are there once is checked behind it.
    """
    name, _, number = usage.partition(":")

    def register(deal: P) -> P:
        _REGISTERED[name] = Registered(name, number, deal)
        return deal

    return register


def partitioner_names() -> tuple[str, ...]:
    """What may be said for `--partition`, in order: `iid`, `shards:K`."""
    return tuple(entry.usage for _, entry in sorted(_REGISTERED.items()))


def find_partitioner(asked: str) -> tuple[Partitioner, float]:
    """The partitioner that `--partition` names, and its number (NaN where it takes none).

    Raises:
        UsageError: there is none of this name, or the number is missing, too much or none.
    """
    name, colon, text = asked.partition(":")
    entry = _REGISTERED.get(name)
    if entry is None:
        raise UsageError(f"unknown --partition {asked!r}; known: {', '.join(partitioner_names())}")
    if not entry.number:
        if colon:
            raise UsageError(f"--partition {name} takes no number, so not {asked}")
        return entry.deal, math.nan
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise UsageError(f"--partition must be {entry.usage} with a number above 0, not {asked!r}")
    return entry.deal, number
