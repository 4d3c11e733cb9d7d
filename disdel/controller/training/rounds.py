"""The rounds of a train run, from the first fork to the ensemble, and what the report says."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.invoker import Invoker, all_of
from disdel.controller.planning.compiled import CompiledNetwork
from disdel.controller.planning.nodes import remember_pool
from disdel.controller.planning.plan_report import plan_report
from disdel.controller.planning.planning import remaining_s
from disdel.controller.runs.lease import Lease
from disdel.controller.runs.progress import CompleteRound, Progress, ProgressFiles
from disdel.controller.training.collecting import COLLECT_WEIGHTS, Collector
from disdel.controller.training.crew import Crew, epoch_of
from disdel.controller.training.evictions import started_again
from disdel.controller.training.fleet import Fleet
from disdel.controller.training.scoring import Ensemble
from disdel.controller.training.splits import JobSamples, split_reports
from disdel.controller.training.staging import shard_keys, stage
from disdel.controller.training.states import States
from disdel.controller.training.stopping import is_scored, model_round, reason_to_stop
from disdel.errors import ActivationFailed, DisdelError, PlatformError, StoreError, TrainingDiverged
from disdel.platforms.base import ActionSpec
from disdel.settings import Settings, entries, run_dir
from disdel.types import DEFAULT_OPTIMIZER, Activation, ModelSpec, RoundReport, RunReport, Score
from disdel.types.events import Listener, Noted, RoundDone, RoundStarted


class TrainRun:
    """One run: forks, joins, averages and scores until it is done or good enough.

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
    """

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
        self._progress = progress
        job = self._job = progress.job
        self._model = model
        self._crew = crew
        plan = self._plan = crew.plan
        self._samples = samples
        self._settings = settings
        self._invoker = invoker
        self._emit = emit
        session = invoker.session

        def sized(name: str, memory_mb: int) -> SizedAction:
            return SizedAction(
                session.platform,
                invoker.package,
                action(name, memory_mb),
                timeout_max_s=plan.timeout_max_s,
            )

        self._train = sized("train", plan.memory_mb)
        self._fleet = Fleet(job, crew, model, self._train, invoker, emit)
        apart = plan.collect_memory_mb > 0
        self._collector = Collector(
            action=sized(COLLECT_WEIGHTS, plan.collect_memory_mb) if apart else self._train,
            memory_mb=lambda: plan.collect_memory_mb or self._worker_mb(),
            invoker=invoker,
            fan_in=plan.fan_in,
            memory_max_mb=plan.memory_max_mb,
        )
        self._ensemble = Ensemble(self._fleet, crew, invoker, compiled)
        self._lease = lease
        files = ProgressFiles(invoker.folder, lease)
        self._states = States(session.store, invoker.keys, files, job, emit)
        self._rounds = [entry.report for entry in progress.rounds]
        self._ledger = [line for entry in progress.rounds for line in entry.ledger]
        invoker.journal.activations += [a for entry in progress.rounds for a in entry.activations]
        # What earlier activations took, the controller of that time has observed.
        self._first_own = len(invoker.journal.activations)
        self._epochs = [epoch_of(entry.activations) for entry in progress.rounds]
        self._stopped: str | None = None
        self._tested: Score | None = None
        self._staged: set[str] = set()

    @property
    def own_activations(self) -> list[Activation]:
        """Those that this controller has invoked."""
        return self._invoker.journal.activations[self._first_own :]

    async def execute(self) -> None:
        """Train to the last round and save the ensemble.

        The first activations start their containers while the shards are still being written, and
        wait for theirs.
        """
        try:
            await self._execute()
        except asyncio.CancelledError:
            if self._rounds:
                self._emit(Noted(message=self._how_to_go_on()))
            raise
        except (PlatformError, StoreError) as failure:
            told: DisdelError = failure
            if type(failure) is StoreError:
                gone = await asyncio.to_thread(self._invoker.why_gone, str(failure))
                told = gone or failure
            told.reworded(f"{told}\n{self._how_to_go_on()}")
            if told is failure:
                raise
            raise told from failure

    def _how_to_go_on(self) -> str:
        run, rounds = self._invoker.folder.run, len(self._rounds)
        place = self._settings.run_dir
        where = "" if place == run_dir() else f" --run-dir {shlex.quote(str(place))}"
        after = f"after round {rounds}" if rounds else "from its beginning"
        return f"disdel train --resume {run}{where} goes on {after}"

    async def _execute(self) -> None:
        self._fleet.slots |= await self._invoker.write(
            self._states.restore, self._progress, len(self._plan.client_samples)
        )
        try:
            await self._all_rounds()
        except ActivationFailed as failure:
            if failure.cause != TrainingDiverged.kind:
                raise
            raise TrainingDiverged(
                f"{failure.reason}. {await self._ensemble.save_last_good(self._rounds)} Lower "
                "--learning-rate, or look at the model and its samples"
            ) from failure
        self._lease.confirm()
        await self._ensemble.save()

    async def _all_rounds(self) -> None:
        try:
            for number in range(self._progress.done + 1, self._plan.rounds + 1):
                self._stopped = reason_to_stop(self._job.validation, self._rounds)
                if self._stopped is not None:
                    break
                self._adapt()
                await all_of((self._stage(), self._round(number), self._warm_up(number)))
            await self._conclude()
        finally:
            await self._fleet.finish()
            await self._states.saved()

    def _adapt(self) -> None:
        """Cut the next round for as many workers as the policy wants."""
        if self._job.workers_policy == "fixed" or not self._epochs:
            return
        workers = self._crew.plan.workers
        plan = self._crew.after(self._epochs, self._job.workers_max)
        if plan.workers != workers:
            self._emit(Noted(message=f"workers from here on: {plan.workers}, not {workers}"))
            self._fleet.recut()

    async def _stage(self) -> None:
        """Write the shards of the present cut that are not there, and delete those of the last."""
        store, keys, plan = self._invoker.session.store, self._invoker.keys, self._crew.plan
        assignment = self._crew.assignment
        if self._staged != shard_keys(keys, plan, assignment):
            await self._invoker.write(
                stage, store, keys, plan, assignment, self._samples, self._staged
            )

    async def _warm_up(self, number: int) -> None:
        """Have a container for the average; the workers' code, which is waited for, goes first."""
        await self._fleet.ensure_created()
        await self._collector.warm_up(number)

    async def _conclude(self) -> None:
        """Test the model, unless a round has, and let a worker store it."""
        number = model_round(self._job.validation, self._rounds)
        assert number is not None
        if self._ensemble.is_exported:
            return
        # A run that is resumed behind its last round has nothing staged.
        await self._stage()
        if self._job.validation.decides:
            self._tested = await self._ensemble.score(number, "test", exports=True)
        else:
            await self._ensemble.export(number)

    async def _round(self, number: int) -> None:
        """Fork, train, join, average, score."""
        started_s = time.monotonic()
        begun = len(self._invoker.journal.activations)
        rounds = self._plan.rounds
        workers = self._fleet.active(number)
        first = number == self._progress.done + 1
        self._emit(
            RoundStarted(
                round=number,
                first=first,
                rounds=rounds,
                workers=workers,
                scored_on=self._plan.scored_on,
            )
        )
        trained = await self._fleet.train_round(number)
        self._ledger += await self._collector.collect(number, [work.update for work in trained])
        await self._states.saved()
        await asyncio.to_thread(self._states.forget_updates, trained)
        score = None
        if is_scored(number, self._plan):
            # Where something is decided, the model is still to be tested.
            exports = number == rounds and not self._job.validation.decides
            score = await self._ensemble.score(number, self._plan.scored_on, exports=exports)
        samples = sum(work.update.samples for work in trained)
        report = RoundReport(
            round=number,
            wall_s=round(time.monotonic() - started_s, 3),
            train_loss=sum(work.loss_sum for work in trained) / samples,
            **({} if score is None else asdict(score)),
        )
        self._rounds.append(report)
        await asyncio.to_thread(self._states.forget_averages, tuple(self._rounds))
        # One of an earlier round may have been overtaken there, and end only now.
        noted = self._invoker.journal.activations[begun:]
        ended = [activation for activation in noted if activation.round == number]
        await self._heed_evictions(number, begun, ended)
        self._epochs.append(epoch_of(ended))
        complete = CompleteRound(
            report=report,
            ledger=tuple(entry for entry in self._ledger if entry.round == number),
            activations=tuple(ended),
        )
        self._states.save(complete, tuple(self._rounds), self._fleet.slots)
        self._emit(
            RoundDone(
                rounds=rounds,
                report=report,
                cold=sum(activation.start == "cold" for activation in ended),
                warm=sum(activation.start == "warm" for activation in ended),
                peak_mb=max(activation.peak_mb or 0 for activation in ended),
                remaining_s=remaining_s(ended, done=number, rounds=rounds),
            )
        )

    def _worker_mb(self) -> int:
        """The limit of a worker's container, where it averages."""
        return self._fleet.attempt(0).memory_mb

    async def _heed_evictions(self, number: int, begun: int, ended: list[Activation]) -> None:
        """Need a container less where the platform has removed warm ones to make room for others.

        The first controller of a run knows all containers of it; a later one does not.
        """
        before = self._invoker.journal.activations[self._first_own : begun]
        again = started_again(before, ended)
        if not again or not self._collector.is_apart or number == self._plan.rounds:
            return
        plan = self._crew.plan
        together_mb = plan.workers * self._worker_mb() + plan.collect_memory_mb
        self._collector.move_to(self._train, self._worker_mb)
        self._emit(
            Noted(
                message=f"the platform started {again} warm container{'s' * (again > 1)} again, so "
                f"it seems to keep less than {together_mb} MB of them: from here on a worker's "
                "container averages; --pool-memory MB plans for what there is"
            )
        )
        if (address := self._invoker.session.lasting_address) is not None:
            await asyncio.to_thread(remember_pool, address, below_mb=together_mb)

    def _optimizer(self) -> str:
        own = self._model.own and self._model.own.optimizer
        return self._job.optimizer or own or DEFAULT_OPTIMIZER

    def report(self, wall_s: float) -> RunReport:
        """What is known of the run now."""
        validation = self._job.validation
        number = model_round(validation, self._rounds)
        tested: Score | RoundReport | None = self._tested
        if number is not None and not validation.decides:
            tested = self._rounds[number - 1]
        model = self._ensemble.model_path or self._invoker.folder.model
        return RunReport(
            run=self._invoker.folder.run,
            job="train",
            dataset=self._job.dataset,
            platform=self._invoker.session.platform_name,
            status="ok",
            wall_s=round(wall_s, 3),
            settings={
                **entries(self._job),
                **entries(self._settings),
                # As they were used.
                "workers": self._plan.workers,
                "runtime": self._plan.runtime,
                "fan_in": self._plan.fan_in,
                "model": self._model.name,
                "optimizer": self._optimizer(),
                "validate_every": self._plan.score_every,
            },
            accuracy=None if tested is None else tested.accuracy,
            loss=None if tested is None else tested.loss,
            metrics={} if tested is None else tested.metrics,
            model=str(model) if model.is_file() else None,
            splits=split_reports(self._samples.spec, decides=validation.decides),
            scored_on=self._plan.scored_on,
            plan=plan_report(self._plan),
            rounds=tuple(self._rounds),
            activations=tuple(self._invoker.journal.activations),
            ledger=tuple(self._ledger),
            totals=self._invoker.journal.totals(),
            model_round=number,
            stopped=self._stopped,
            resumed_after=self._progress.done or None,
        )
