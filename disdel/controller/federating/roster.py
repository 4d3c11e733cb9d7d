"""The clients of a federation, and who of them is asked in a round."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from disdel import selection
from disdel.controller.runs.progress import Progress
from disdel.controller.training.observers import DoneRound, RoundObserver
from disdel.errors import RoundFailed, UsageError
from disdel.types import FederateJob, LedgerEntry, RoundReport
from disdel.types.assignment import Assignment


class Roster(RoundObserver):
    """All clients of a federation, in a few bytes each; it follows the rounds that it chooses for.

    Args:
        job: the federation.
        assignment: the samples that each client owns.

    Raises:
        UsageError: too few clients have samples, or there is no such way to choose some.
        RoundFailed: too few are there in the first round.
    """

    def __init__(self, job: FederateJob, assignment: Assignment) -> None:
        self._job = job
        self._seed = job.seed
        if job.privacy.is_differential:
            # Who knows a cohort knows more than its chance: nobody can make it again.
            own = job.privacy.noise_seed
            self._seed = secrets.randbits(128) if own is None else own
        owned = np.asarray(assignment.sizes, np.int64)
        self._starts = np.cumsum(owned) - owned
        most = job.of_clients("client_samples")
        self.sizes = owned if most is None else np.minimum(owned, most.astype(np.int64))
        self._order = assignment.order
        self._positions: NDArray[np.int64] | None = None
        self._able = np.flatnonzero(self.sizes)
        self._known = selection.Roster.of(self.sizes)
        self._selection = selection.find_selection(job.select)
        self._available = None
        if job.available is not None:
            self._available = selection.read_availability(
                job.available, clients=len(self.sizes), seed=job.seed
            )
        if len(self._able) < job.asked:
            raise UsageError(
                f"a round asks {job.asked} clients, and {len(self._able)} of {job.roster} have "
                "samples: lower --clients-per-round, or choose another --partition or --seed"
            )
        # What cannot be chosen is told before anything runs.
        self.cohort(1)

    @property
    def somebody(self) -> int:
        """A client that has samples."""
        return int(self._able[0])

    def able(self, number: int) -> int:
        """Of how many clients those of a round are chosen: they have samples, and are there.

        With 0, how many have samples.
        """
        return len(self._present(number) if number else self._able)

    def _present(self, number: int) -> NDArray[np.int64]:
        if self._available is None:
            return self._able
        return self._able[self._available.present(number)[self._able]]

    def cohort(self, number: int) -> list[int]:
        """The clients that are asked in a round, ascending: the same ones each time.

        Once the round before it is over: who has done what until then counts for some selections.

        Raises:
            RoundFailed: fewer are there than must answer.
        """
        able = self._present(number)
        if len(able) < self._job.least:
            raise RoundFailed(
                f"round {number} failed: {len(able)} of {len(self._able)} clients are there, by "
                f"--available {self._job.available}, and {self._job.least} must answer; lower "
                "--min-clients or --clients-per-round"
            )
        chosen = self._selection.cohort(
            self._known, able, wanted=self._job.asked, number=number, seed=self._seed
        )
        return [int(client) for client in chosen]

    async def run_started(self, progress: Progress) -> None:
        for complete in progress.rounds:
            self._follow(complete.report, complete.ledger)

    async def round_done(self, done: DoneRound) -> None:
        self._follow(done.report, done.ledger)

    def _follow(self, report: RoundReport, ledger: Sequence[LedgerEntry]) -> None:
        """Remember what a round has shown of its clients; those who have answered are at hand."""
        answered = np.array([entry.client for entry in ledger], np.int64)
        late = () if report.clients is None else report.clients.dropped
        self._known.ask([*answered, *(one.client for one in late)])
        # None becomes NaN.
        self._known.tell(
            answered,
            loss=np.array([entry.loss for entry in ledger], np.float32),
            took_s=np.array([entry.train_s for entry in ledger], np.float32),
        )
        self._known.keep_warm(answered)

    def samples(self, client: int) -> int:
        return int(self.sizes[client])

    def positions(self, client: int) -> NDArray[np.int64]:
        """The client's positions in the training split, ascending, shape (its samples,)."""
        if self._positions is None:
            self._positions = self._order()
        start = self._starts[client]
        return np.sort(self._positions[start : start + self.sizes[client]])

    def typical(self, count: int) -> tuple[int, ...]:
        """The samples of each client of a cohort like most, with the largest client in it."""
        ranked = np.sort(self.sizes[self._able])
        places = np.linspace(0, len(ranked) - 1, count).astype(np.int64)
        return tuple(ranked[places[::-1]].tolist())
