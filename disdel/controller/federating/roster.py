"""The clients of a federation, and who of them is asked in a round."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from disdel import selection
from disdel.controller.federating.rests import Rests
from disdel.controller.runs.progress import Progress
from disdel.controller.training.observers import DoneRound, RoundObserver
from disdel.errors import RoundFailed, UsageError
from disdel.types import FederateJob, LedgerEntry, RoundReport
from disdel.types.assignment import Assignment
from disdel.types.client_scores import Part

# Tells this use of the seed from others.
_HOLDS_OUT = 0x68656C64


def held_out(owned: NDArray[np.int64], share: float | None) -> NDArray[np.int64]:
    """How many of its samples each client holds out, (clients,): a share, rounded; never all."""
    if share is None:
        return np.zeros_like(owned)
    rounded = np.floor(owned * share + 0.5).astype(np.int64)
    held: NDArray[np.int64] = np.clip(rounded, 0, np.maximum(owned - 1, 0))
    return held


def _too_few(job: FederateJob, able: int) -> str:
    """Why a round cannot be, in which fewer clients have samples than are asked."""
    other = "choose another --partition or --seed"
    if job.data is not None:
        other = f"look at counts() beside {job.data}, which says so"
    if not able:
        return f"none of {job.roster} clients has samples to train on: {other}"
    return (
        f"a round asks {job.asked} clients, and {able} of {job.roster} have samples: lower "
        f"--clients-per-round, or {other}"
    )


class Roster(RoundObserver):
    """All clients of a federation, in a few bytes each; it follows the rounds that it chooses for.

    Args:
        job: the federation.
        assignment: the samples that each client owns.
        is_counted: whether it says how many these are; else each client must say so itself.
        waits: whether a round waits for all that it asks, so that as many must be there.

    Attributes:
        least: how many clients must be there in a round.

    Raises:
        UsageError: too few clients have samples, or there is no such way to choose some.
    """

    def __init__(
        self,
        job: FederateJob,
        assignment: Assignment,
        *,
        is_counted: bool = True,
        waits: bool = True,
    ) -> None:
        self._job = job
        self._seed = job.seed
        if job.privacy.is_differential:
            # Who knows a cohort knows more than its chance: nobody can make it again.
            own = job.privacy.noise_seed
            self._seed = secrets.randbits(128) if own is None else own
        owned = np.asarray(assignment.sizes, np.int64)
        self._starts = np.cumsum(owned) - owned
        self.held = held_out(owned, job.evaluating.holdout)
        self._owned = owned
        if job.evaluating.holdout is not None and not self.held.any():
            raise UsageError(
                f"--client-holdout {job.evaluating.holdout:g} holds out no sample of any client: "
                f"the largest has {owned.max(initial=0)}, and that share of it is none. Raise it, "
                "or take fewer clients"
            )
        most = job.of_clients("client_samples")
        kept = owned - self.held
        self.sizes = kept if most is None else np.minimum(kept, most.astype(np.int64))
        self.assignment = assignment
        self._counted = np.full(len(self.sizes), is_counted)
        self._positions: NDArray[np.int64] | None = None
        # Those who have samples, by how many.
        self._ranked: NDArray[np.int64] | None = None
        self._able = np.flatnonzero(self.sizes)
        self._known = selection.Roster.of(self.sizes)
        self._selection = selection.find_selection(job.select)
        self._available: selection.Availability | None = None
        self._last_there: tuple[int, NDArray[np.bool_]] | None = None
        if job.available is not None:
            self._available = selection.read_availability(
                job.available, clients=len(self.sizes), seed=job.seed
            )
        if len(self._able) < job.asked:
            raise UsageError(_too_few(job, len(self._able)))
        self.least = job.least if waits else 1
        # Who is drawn by chance can be foreseen where others may know it, too.
        self._draws_known = self._selection.by_chance and is_counted
        if job.privacy.is_differential and job.privacy.noise_seed is None:
            self._draws_known = False
        # Who is asked must hang on chance alone where that is what privacy is counted with.
        self.rests = Rests(enabled=not job.privacy.is_differential)
        # What cannot be chosen is told before anything runs.
        self._chosen(self._able, 1)

    @property
    def somebody(self) -> int:
        """A client that has samples."""
        return int(self._able[0])

    def able(self, number: int) -> int:
        """Of how many clients those of a round are chosen: they have samples, and are there.

        With 0, how many have samples.
        """
        return len(self._present(number) if number else self._able)

    def is_there(self, client: int, number: int) -> bool:
        """Whether a client is there in a round."""
        return self._available is None or bool(self._there(self._available, number)[client])

    def _present(self, number: int) -> NDArray[np.int64]:
        if self._available is None:
            return self._able
        return self._able[self._there(self._available, number)[self._able]]

    def _there(self, available: selection.Availability, number: int) -> NDArray[np.bool_]:
        last = self._last_there
        if last is None or last[0] != number:
            last = self._last_there = number, available.present(number)
        return last[1]

    def changes(self, first: int, last: int) -> Iterable[int]:
        """Rounds from `first` to `last` in which others may be there than in the one before.

        The first is one of them.
        """
        rounds = range(first, last + 1)
        if self._draws_known or not rounds:
            return rounds
        if self._available is None:
            return rounds[:1]
        return self._available.changes(rounds)

    @property
    def looked_at(self) -> int:
        """How many numbers are looked at to know who is there in a round."""
        return len(self.sizes) if self._available is None else self._available.looked_at

    def foreseen(self, number: int) -> int:
        """How many clients will be there in a round, or are drawn where that is known."""
        there = self._present(number)
        return len(self._chosen(there, number)) if self._draws_known else len(there)

    def cohort(self, number: int, *, there_in: int | None = None) -> list[int]:
        """The clients that are asked in a round, ascending: the same ones each time.

        Once the round before it is over: who has done what until then counts for some selections.

        Args:
            number: of the round, or of a draw of which several may be in a round.
            there_in: the round in which they must be there; None for this one.

        Raises:
            RoundFailed: fewer are there than must answer.
        """
        there_in = there_in or number
        able = self._present(there_in)
        if len(able) < self.least:
            lower = "lower --min-clients or --clients-per-round, or have more there"
            raise RoundFailed(
                f"round {there_in} failed: {len(able)} of {len(self._able)} clients are there, by "
                f"--available {self._job.available}, and {self.least} must answer; "
                f"{lower if len(able) else 'somebody must be there in each round'}"
            )
        resting = self.rests.at(there_in)
        awake = able[~np.isin(able, resting)] if resting else able
        # A round that needs them all the same asks them.
        return [int(c) for c in self._chosen(awake if len(awake) >= self.least else able, number)]

    def _chosen(self, able: NDArray[np.int64], number: int) -> NDArray[np.int64]:
        return self._selection.cohort(
            self._known, able, wanted=self._job.asked, number=number, seed=self._seed
        )

    async def run_started(self, progress: Progress) -> None:
        for complete in progress.rounds:
            self._follow(complete.report, complete.ledger)

    async def round_done(self, done: DoneRound) -> None:
        self._follow(done.report, done.ledger)

    def _follow(self, report: RoundReport, ledger: Sequence[LedgerEntry]) -> None:
        """Remember what a round has shown of its clients; those who have answered are at hand."""
        answered = np.array([entry.client for entry in ledger], np.int64)
        late = () if report.clients is None else report.clients.dropped
        self.rests.follow(report.round, [int(client) for client in answered], late)
        self._known.ask([*answered, *(one.client for one in late)])
        # None becomes NaN.
        self._known.tell(
            answered,
            loss=np.array([entry.loss for entry in ledger], np.float32),
            took_s=np.array([entry.train_s for entry in ledger], np.float32),
        )
        self._known.keep_warm(answered)

    @property
    def scored(self) -> list[int]:
        """The clients that have samples to score a model on."""
        has = self.sizes if self._job.evaluating.holdout is None else self.held
        return [int(client) for client in np.flatnonzero(has)]

    def samples(self, client: int, part: Part = "train") -> int:
        return int((self.sizes if part == "train" else self.held)[client])

    def told(self, client: int) -> int | None:
        """How many samples a client has, if anybody has counted them."""
        return self.samples(client) if self._counted[client] else None

    def uncounted(self, clients: Sequence[int]) -> list[int]:
        """Those of some clients whose samples nobody has counted."""
        return [client for client in clients if not self._counted[client]]

    def count(self, client: int, samples: int) -> None:
        """Know how many samples a client has."""
        # What is known for selections has the same array.
        self.sizes[client] = samples
        self._ranked = None
        self._counted[client] = True

    @property
    def is_counted(self) -> bool:
        return bool(self._counted.all())

    def positions(self, client: int, part: Part = "train") -> NDArray[np.int64]:
        """The client's positions in the training split, ascending, shape (its samples,)."""
        if self._positions is None:
            self._positions = self.assignment.order()
        start, owned = int(self._starts[client]), int(self._owned[client])
        own = self._positions[start : start + owned]
        if self._job.evaluating.holdout is None:
            return np.sort(own[: self.sizes[client]])
        # Whatever the order of its samples says, those held out are like the others.
        drawn = np.random.default_rng((self._job.seed, _HOLDS_OUT, client)).permutation(owned)
        held = drawn[: self.held[client]]
        if part == "held-out":
            return np.sort(own[held])
        return np.sort(np.delete(own, held)[: self.sizes[client]])

    def like_most(self, count: int, among: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """So many clients that are like most that have samples, the largest first, (count,).

        Args:
            count: how many; some come more than once, where there are fewer.
            among: whether each client is one of those to choose from, (clients,); None for all.
        """
        if self._ranked is None:
            # Plans ask often, and of up to a million clients.
            self._ranked = self._able[np.argsort(self.sizes[self._able], kind="stable")]
        ranked = self._ranked if among is None else self._ranked[among[self._ranked]]
        places = np.linspace(len(ranked) - 1, 0, count).astype(np.int64)
        return ranked[places]

    def typical(self, count: int, among: NDArray[np.bool_] | None = None) -> tuple[int, ...]:
        """The samples of each client of a cohort like most, with the largest client in it.

        Args:
            count: of the cohort's clients.
            among: which clients may be in it, (clients,) bool; None for all.
        """
        return tuple(self.sizes[self.like_most(count, among)].tolist())
