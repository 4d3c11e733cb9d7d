"""The clients of a federation, and who of them is asked in a round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from disdel.errors import UsageError
from disdel.types import FederateJob
from disdel.types.assignment import Assignment

Clients: TypeAlias = NDArray[np.int64]

# Keeps this choice apart from what else is drawn from the seed in a round.
_SELECTING = 7
# What a plan is made for: enough to know a cohort by.
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asking:
    """What is known where a round's clients are chosen.

    Attributes:
        able: the clients that could be asked, ascending, (able,).
        sizes: the samples of each client of the roster, (clients,).
        count: how many are to be chosen, at most as many as are able.
        round: from 1.
        seed: the run's.
    """

    able: Clients
    sizes: NDArray[np.int64]
    count: int
    round: int
    seed: int


def uniform(asking: Asking) -> Clients:
    """Any of them, each as likely as another."""
    rng = np.random.default_rng((asking.seed, asking.round, _SELECTING))
    return asking.able[rng.choice(len(asking.able), asking.count, replace=False)]


_SELECTIONS: dict[str, Callable[[Asking], Clients]] = {"uniform": uniform}


class Roster:
    """All clients of a federation, in a few bytes each.

    Args:
        job: the federation.
        assignment: the samples that each client owns.

    Raises:
        UsageError: too few clients have samples, or there is no such way to choose some.
    """

    def __init__(self, job: FederateJob, assignment: Assignment) -> None:
        self._job = job
        self.sizes = np.asarray(assignment.sizes, np.int64)
        self._ends = np.cumsum(self.sizes)
        self._order = assignment.order
        self._positions: NDArray[np.int64] | None = None
        self._able = np.flatnonzero(self.sizes)
        if job.select not in _SELECTIONS:
            raise UsageError(
                f"--select {job.select!r} is unknown; known: {', '.join(sorted(_SELECTIONS))}"
            )
        if len(self._able) < job.asked:
            raise UsageError(
                f"a round asks {job.asked} clients, and {len(self._able)} of {job.roster} have "
                "samples: lower --clients-per-round, or choose another --partition or --seed"
            )

    @property
    def empty(self) -> str:
        """The clients without samples, for people; empty where all have some."""
        without = np.flatnonzero(self.sizes == 0)
        if not len(without):
            return ""
        named = ", ".join(map(str, without[:_NAMED].tolist()))
        return f"{named} and {len(without) - _NAMED} others" if len(without) > _NAMED else named

    def cohort(self, number: int) -> list[int]:
        """The clients that are asked in a round, ascending: the same ones each time."""
        asking = Asking(
            able=self._able,
            sizes=self.sizes,
            count=self._job.asked,
            round=number,
            seed=self._job.seed,
        )
        if asking.count == len(asking.able):
            return [int(client) for client in asking.able]
        chosen = _SELECTIONS[self._job.select](asking)
        return [int(client) for client in np.sort(chosen)]

    def samples(self, client: int) -> int:
        return int(self.sizes[client])

    def positions(self, client: int) -> NDArray[np.int64]:
        """The client's positions in the training split, ascending, shape (its samples,)."""
        if self._positions is None:
            self._positions = self._order()
        end = self._ends[client]
        return np.sort(self._positions[end - self.sizes[client] : end])

    def typical(self, count: int) -> tuple[int, ...]:
        """The samples of each client of a cohort like most, with the largest client in it."""
        ranked = np.sort(self.sizes[self._able])
        places = np.linspace(0, len(ranked) - 1, count).astype(np.int64)
        return tuple(ranked[places[::-1]].tolist())
