"""The rounds of a run, from the first fork to the model."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.background import background
from disdel.controller.invoking.berths import Berth
from disdel.controller.invoking.invoker import Invoker, all_of
from disdel.controller.planning.compiled import CompiledNetwork
from disdel.controller.runs.lease import Lease
from disdel.controller.runs.progress import Progress, ProgressFiles
from disdel.controller.training.checkpoints import Checkpoints
from disdel.controller.training.collecting import COLLECT_WEIGHTS, Collector
from disdel.controller.training.containers import TrainContainers
from disdel.controller.training.crew import Crew
from disdel.controller.training.evictions import Evictions
from disdel.controller.training.observers import (
    DoneRound,
    EarlyStop,
    JoinedRound,
    RoundHistory,
    RoundObserver,
    Shown,
)
from disdel.controller.training.outcome import Outcome
from disdel.controller.training.scoring import AveragedModel
from disdel.controller.training.splits import JobSamples
from disdel.controller.training.stopping import is_scored, model_round
from disdel.errors import ActivationFailed, DisdelError, PlatformError, StoreError, TrainingDiverged
from disdel.platforms.base import ActionSpec
from disdel.settings import Settings, run_dir
from disdel.strategies.asking import strategy_of
from disdel.types import Activation, LedgerEntry, ModelSpec, RoundReport, RunReport, Score
from disdel.types.client_scores import ClientScores
from disdel.types.dealt import LabelMap
from disdel.types.events import Listener, Noted
from disdel.types.timeline import round_times


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A round that has its next state.

    Attributes:
        report: what is known of it; its seconds are those until then, or until it was scored.
        ledger: what went into the state.
        begun: how many activations there had been before it.
    """

    report: RoundReport
    ledger: tuple[LedgerEntry, ...]
    begun: int


class RoundLoop(ABC):
    """One run: forks, joins, averages and scores until it is done or an observer stops it.

    What a round trains, and how that becomes the next state, subclasses say.

    Args:
        progress: what earlier controllers of this run have done, and the job.
        model: the network.
        compiled: its training step, where that is what the actions execute.
        action: the action of a name and a memory limit in MB.
        crew: the plan, which may change between rounds.
        samples: by what they are for.
        settings: what the user allows, for the report.
        invoker: runs activations and keeps their records.
        lease: the right to drive the run.
        emit: told of what happens.

    Attributes:
        command: that makes such runs.
        rate_flag: what the user has said the learning rate with, or would.
        suspects: what else makes losses that are no numbers, behind "look at".
        unscored: the round that is not done before the next one's workers have scored its average.
    """

    command: ClassVar[str]
    rate_flag = "--learning-rate"
    suspects = "the model and its samples"
    unscored: Trained | None = None

    def __init__(
        self,
        progress: Progress,
        model: ModelSpec,
        compiled: CompiledNetwork | None,
        action: Callable[[str, int], ActionSpec],
        crew: Crew,
        samples: JobSamples,
        settings: Settings,
        invoker: Invoker,
        lease: Lease,
        emit: Listener,
    ) -> None:
        self.progress = progress
        job = self.job = progress.job
        self.model = model
        self.compiled = compiled
        self.crew = crew
        plan = self._plan = crew.plan
        self.samples = samples
        self.settings = settings
        self.invoker = invoker
        self.emit = emit
        session = invoker.session

        def sized(name: str, memory_mb: int) -> SizedAction:
            return SizedAction(
                session.platform,
                invoker.package,
                action(name, memory_mb),
                timeout_max_s=plan.timeout_max_s,
                creating=invoker.creating,
                signer=invoker.signer,
            )

        train = sized("train", plan.memory_mb)
        self.strategy = strategy_of(job)
        fleet = self._fleet = self.new_containers(train)
        apart = plan.collect_memory_mb > 0
        self.collector = Collector(
            action=sized(COLLECT_WEIGHTS, plan.collect_memory_mb) if apart else train,
            memory_mb=lambda: plan.collect_memory_mb or fleet.worker_mb(),
            invoker=invoker,
            fan_in=plan.fan_in,
            memory_max_mb=plan.memory_max_mb,
            is_whole=self.strategy.is_whole,
            berth=self._collecting_berth,
        )
        self._average = AveragedModel(fleet, crew, invoker, compiled)
        self._lease = lease
        invoker.journal.activations += [a for entry in progress.rounds for a in entry.activations]
        # What earlier activations took, the controller of that time has observed.
        self._first_own = len(invoker.journal.activations)
        self._history = RoundHistory(progress)
        # Told in this order: the history is complete for all, and a round is shown when it is safe.
        self._observers: tuple[RoundObserver, ...] = (
            self._history,
            EarlyStop(job.validation, self._history),
            *self.further_observers(),
            Evictions(self.collector, train, fleet, crew),
            Checkpoints(fleet, ProgressFiles(invoker.folder, lease)),
            Shown(
                emit,
                first=progress.done + 1,
                rounds=plan.rounds,
                scored_on=plan.scored_on,
                has_classes=bool(samples.spec.classes),
                has_clients=progress.federation is not None,
            ),
        )
        self._finishing: asyncio.Task[None] | None = None
        self._is_done = asyncio.Event()
        self._tested: Score | None = None
        self._client_scores: ClientScores | None = None

    def _collecting_berth(self) -> Berth | None:
        """Where averages are made, where there is a choice."""
        berths = self._fleet.berths
        if not berths.are_several:
            return None
        return berths.collecting if self.collector.is_apart else berths.of(0)

    @abstractmethod
    def new_containers(self, action: SizedAction) -> TrainContainers:
        """What trains, and scores."""

    def further_observers(self) -> Sequence[RoundObserver]:
        """Who else follows the rounds, before they are saved."""
        return ()

    async def prepare(self, number: int) -> None:  # noqa: ARG002
        """Learn what must be known before a round's work is dealt."""
        return

    @abstractmethod
    def active(self, number: int) -> int:
        """How many containers have something to do in a round."""

    @abstractmethod
    async def stage(self, number: int) -> None:
        """Write the samples of a round that are not in the store; of round 0, those to score."""

    @abstractmethod
    async def join(self, number: int) -> JoinedRound:
        """Train, and make the next state of the updates."""

    @property
    def own_activations(self) -> list[Activation]:
        """Those that this controller has invoked."""
        return self.invoker.journal.activations[self._first_own :]

    async def execute(self) -> None:
        """Train to the last round and save the model.

        The first activations start their containers while the shards are still being written, and
        wait for theirs.

        Raises:
            DisdelError: the run failed; what resumes it is said behind the reason.
        """
        try:
            await self._execute()
        except asyncio.CancelledError:
            if self._history.reports:
                self.emit(Noted(message=self._how_to_go_on(), matters=True))
            raise
        except (PlatformError, StoreError) as failure:
            told: DisdelError = failure
            if type(failure) is StoreError:
                gone = await asyncio.to_thread(self.invoker.why_gone, str(failure))
                told = gone or failure
            told.reworded(f"{told}\n{self._how_to_go_on()}")
            if told is failure:
                raise
            raise told from failure

    def _how_to_go_on(self) -> str:
        run, rounds = self.invoker.folder.run, len(self._history.reports)
        place = self.settings.run_dir
        where = "" if place == run_dir() else f" --run-dir {shlex.quote(str(place))}"
        after = f"after round {rounds}" if rounds else "from its beginning"
        return f"disdel {self.command} --resume {run}{where} continues it {after}"

    async def _execute(self) -> None:
        for observer in self._observers:
            await observer.run_started(self.progress)
        try:
            await self._all_rounds()
        except ActivationFailed as failure:
            if failure.cause != TrainingDiverged.kind:
                raise
            saved = await self._average.save_last_good(self._history.reports)
            raise TrainingDiverged(
                f"{failure.reason}. {saved} Lower {self.rate_flag}, or look at {self.suspects}"
            ) from failure
        self._lease.confirm()
        await self._average.save()

    async def _all_rounds(self) -> None:
        self.unscored = self._still_unscored()
        if self.unscored is None:
            self._is_done.set()
        try:
            for number in range(self.progress.done + 1, self._plan.rounds + 1):
                self._history.stopped = self._reason_to_stop()
                if self._history.stopped is not None:
                    break
                for observer in self._observers:
                    await observer.round_planned(number)
                await all_of((self.stage(number), self._round(number), self._warm_up(number)))
            await self._conclude()
        except ActivationFailed as failure:
            await self._finished()
            if self.unscored is not None and failure.cause == TrainingDiverged.kind:
                # It is the last good one, or has diverged itself.
                with contextlib.suppress(DisdelError):
                    await self._done(self.unscored, await self._score(self.unscored.report.round))
            raise
        finally:
            await self._finished()
            if self.unscored is not None:
                # The run goes on from it, if it can be saved; who takes it up has it scored first.
                with contextlib.suppress(DisdelError):
                    await self._done(self.unscored, None)
            await self._fleet.finish()
            for observer in self._observers:
                await observer.run_ended()

    def _reason_to_stop(self) -> str | None:
        reasons = (observer.reason_to_stop() for observer in self._observers)
        return next((reason for reason in reasons if reason is not None), None)

    async def _warm_up(self, number: int) -> None:
        """Have a container for the average; the workers' code, which is waited for, goes first."""
        await self._fleet.ensure_created()
        await self.collector.warm_up(number)

    async def _conclude(self) -> None:
        """Test the model, unless a round has, and let a worker store it."""
        number = model_round(self.job.validation, self._history.reports)
        assert number is not None
        self._client_scores = await self.tested_by_clients(number)
        if self._average.is_exported:
            return
        # A run that is resumed behind its last round has nothing staged.
        await self.stage(0)
        if self.job.validation.decides:
            self._tested = await self._average.score(number, "test", exports=True)
        else:
            await self._average.export(number)

    async def _round(self, number: int) -> None:
        """Fork, train, join, average, score."""
        started_s = time.monotonic()
        begun = len(self.invoker.journal.activations)
        await self.prepare(number)
        workers = self.active(number)
        for observer in self._observers:
            await observer.round_started(number, workers)
        found: list[JoinedRound] = []

        async def join() -> None:
            found.append(await self.join(number))

        await all_of((join(), self._done_when_scored()))
        [joined] = found
        for observer in self._observers:
            await observer.round_joined(joined)
        report = RoundReport(
            round=number,
            wall_s=round(time.monotonic() - started_s, 3),
            train_loss=joined.train_loss,
            clients=joined.clients,
            privacy=joined.privacy,
        )
        trained = Trained(report=report, ledger=joined.ledger, begun=begun)
        if self.is_scored_later(number):
            self.unscored = trained
            self._is_done.clear()
            return
        score = await self._score(number)
        client_scores = await self.scored_by_clients(number)
        wall_s = round(time.monotonic() - started_s, 3)
        report = replace(report, wall_s=wall_s, client_scores=client_scores)
        await self._done(replace(trained, report=report), score)

    async def _done_when_scored(self) -> None:
        """Finish a round whose average the workers score before they train on from it."""
        if (trained := self.unscored) is not None:
            score = await self._average.told(trained.report.round)
            # Also where its successor has just failed.
            self._finishing = background(self._done(trained, score))
            await asyncio.shield(self._finishing)

    async def scored_before(self) -> None:
        """Return once the round before is done, so that rounds are done one after the other."""
        await self._is_done.wait()

    async def _finished(self) -> None:
        """Return when no round is being finished; what that fails of has failed the run."""
        if self._finishing is not None:
            await asyncio.wait((self._finishing,))

    def _still_unscored(self) -> Trained | None:
        """The last round of an earlier controller, where it was saved before it was scored."""
        if not self.progress.done:
            return None
        last = self.progress.rounds[-1]
        if last.report.loss is not None or not self.is_scored_later(last.report.round):
            return None
        return Trained(report=last.report, ledger=last.ledger, begun=0)

    async def _done(self, trained: Trained, score: Score | None) -> None:
        """Tell the observers of a round that has all that it will have, for now."""
        self.unscored = None
        activations = self._activations_of(trained.report.round, trained.begun)
        report = replace(
            trained.report,
            times=round_times(self._timed(trained.report.round, activations)),
            **({} if score is None else asdict(score)),
        )
        done = DoneRound(
            report=report,
            reports=(*self._history.reports[: report.round - 1], report),
            ledger=trained.ledger,
            activations=activations,
            before=self._activations_before(trained.begun),
        )
        for observer in self._observers:
            await observer.round_done(done)
        self._is_done.set()

    def is_scored_later(self, number: int) -> bool:  # noqa: ARG002
        """Whether the average of a round is scored by who trains the next one, before its steps."""
        return False

    async def scored_by_clients(self, number: int) -> ClientScores | None:  # noqa: ARG002
        """The model of a round on the own samples of clients, where that is asked for."""
        return None

    async def tested_by_clients(self, number: int) -> ClientScores | None:  # noqa: ARG002
        """The same of the finished model, which is that of round `number`."""
        return None

    def _activations_of(self, number: int, begun: int) -> tuple[Activation, ...]:
        """Those of a round that began with so many in the journal."""
        ended = self.invoker.journal.activations[begun:]
        return tuple(entry for entry in ended if entry.round == number)

    def _timed(
        self,
        number: int,  # noqa: ARG002
        activations: Sequence[Activation],
    ) -> Sequence[Activation]:
        """Those of them that say where a round's time went."""
        return activations

    def _activations_before(self, begun: int) -> tuple[Activation, ...]:
        """Those after which containers should be warm, of a round that began with so many."""
        return tuple(self.invoker.journal.activations[self._first_own : begun])

    async def _score(self, number: int) -> Score | None:
        """The score of a round's average; None where it has none."""
        if not is_scored(number, self._plan):
            return None
        # Where something is decided, the model is still to be tested.
        exports = number == self._plan.rounds and not self.job.validation.decides
        return await self._average.score(number, self._plan.scored_on, exports=exports)

    @property
    def label_map(self) -> LabelMap | None:
        """What the clients of a federation were dealt."""
        return None

    def report(self, wall_s: float) -> RunReport:
        """What is known of the run now, `wall_s` seconds after it began."""
        return Outcome(
            job=self.job,
            federation=self.progress.federation,
            plan=self._plan,
            model=self.model,
            settings=self.settings,
            dataset=self.samples.spec,
            history=self._history,
            tested=self._tested,
            client_scores=self._client_scores,
            label_map=self.label_map,
            model_path=self._average.model_path or self.invoker.folder.model,
            resumed_after=self.progress.done or None,
            precision=self._fleet.precision,
        ).report(self.invoker, wall_s)
