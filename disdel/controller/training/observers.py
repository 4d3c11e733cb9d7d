"""Who follows the rounds of a run. The round loop tells them what happens, in their order.

What a run does beside training, averaging and scoring is an observer: it saves, shows, stops early,
changes the number of workers, moves the average to another container.
"""

from __future__ import annotations

from dataclasses import dataclass

from disdel.controller.planning.observing import remaining_s
from disdel.controller.runs.progress import CompleteRound, Progress
from disdel.controller.training.stopping import reason_to_stop
from disdel.types import (
    Activation,
    ClientsReport,
    LedgerEntry,
    PrivacyReport,
    RoundReport,
    Split,
    Validation,
)
from disdel.types.events import Listener, RoundDone, RoundStarted


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneRound:
    """A round that has its next state, and its score where it has one.

    Attributes:
        report: what it came to.
        reports: of all rounds up to this one.
        ledger: what went into its state.
        activations: of this round that have ended; one of an earlier round that was overtaken
            there, and ends only now, is none.
        before: the activations that this controller had invoked before it.
    """

    report: RoundReport
    reports: tuple[RoundReport, ...]
    ledger: tuple[LedgerEntry, ...]
    activations: tuple[Activation, ...]
    before: tuple[Activation, ...]

    @property
    def number(self) -> int:
        return self.report.round

    @property
    def complete(self) -> CompleteRound:
        """What is saved of it."""
        return CompleteRound(report=self.report, ledger=self.ledger, activations=self.activations)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedRound:
    """The updates of a round that have become the next state.

    Attributes:
        ledger: what went into the state.
        spent: keys in the store that nobody reads any more.
        train_loss: of the steps behind it, a mean over the samples.
        clients: who was asked, of a federation.
        privacy: what they have been promised.
    """

    ledger: tuple[LedgerEntry, ...]
    spent: tuple[str, ...]
    train_loss: float | None
    clients: ClientsReport | None = None
    privacy: PrivacyReport | None = None


class RoundObserver:
    """Does nothing; subclasses do what their run is to do beside its rounds.

    What a method raises ends the run.
    """

    async def run_started(self, progress: Progress) -> None:
        """Rounds are about to begin, after those of `progress`."""

    def reason_to_stop(self) -> str | None:
        """Why there is to be no further round; None to go on. Asked before each round."""
        return None

    async def round_planned(self, number: int) -> None:
        """A round is about to be cut for its workers."""

    async def round_started(self, number: int, workers: int) -> None:
        """So many workers are about to train."""

    async def round_joined(self, joined: JoinedRound) -> None:
        """The updates have become the next state, and nobody reads them any more."""

    async def round_done(self, done: DoneRound) -> None:
        """A round is over."""

    async def run_ended(self) -> None:
        """There will be no further round, however the run has ended."""


class RoundHistory(RoundObserver):
    """What the rounds came to.

    Args:
        progress: the rounds of earlier controllers.

    Attributes:
        reports: of each round.
        ledger: what went into their states.
        stopped: why the run has ended before its last round.
    """

    def __init__(self, progress: Progress) -> None:
        self.reports = [entry.report for entry in progress.rounds]
        self.ledger = [line for entry in progress.rounds for line in entry.ledger]
        self.stopped: str | None = None

    async def round_joined(self, joined: JoinedRound) -> None:
        self.ledger += joined.ledger

    async def round_done(self, done: DoneRound) -> None:
        self.reports[:] = done.reports


class EarlyStop(RoundObserver):
    """Ends a run whose score has reached its target, or that gets no better."""

    def __init__(self, validation: Validation, history: RoundHistory) -> None:
        self._validation = validation
        self._history = history

    def reason_to_stop(self) -> str | None:
        return reason_to_stop(self._validation, self._history.reports)


class Shown(RoundObserver):
    """Tells the views of a run's rounds.

    Args:
        emit: the views.
        first: the first round of this controller.
        rounds: of the whole job.
        scored_on: the split that rounds are scored on.
        has_classes: whether there is an accuracy to score.
        has_clients: whether it is a federation.
    """

    def __init__(
        self,
        emit: Listener,
        *,
        first: int,
        rounds: int,
        scored_on: Split,
        has_classes: bool,
        has_clients: bool,
    ) -> None:
        self._emit = emit
        self._first = first
        self._rounds = rounds
        self._scored_on = scored_on
        self._has_classes = has_classes
        self._has_clients = has_clients

    async def round_started(self, number: int, workers: int) -> None:
        self._emit(
            RoundStarted(
                round=number,
                first=number == self._first,
                rounds=self._rounds,
                workers=workers,
                scored_on=self._scored_on,
                has_classes=self._has_classes,
                has_clients=self._has_clients,
            )
        )

    async def round_done(self, done: DoneRound) -> None:
        starts = [activation.start for activation in done.activations]
        self._emit(
            RoundDone(
                rounds=self._rounds,
                report=done.report,
                cold=starts.count("cold"),
                warm=starts.count("warm"),
                peak_mb=max(activation.peak_mb or 0 for activation in done.activations),
                remaining_s=remaining_s(done.activations, done=done.number, rounds=self._rounds),
                has_classes=self._has_classes,
            )
        )
