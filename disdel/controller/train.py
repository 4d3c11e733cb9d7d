"""A train run: plan, deploy, rounds of fork and join, the ensemble, and the report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from disdel import config, wire
from disdel.bundle import build_bundle
from disdel.catalog.datasets import DatasetArrays, load_arrays, prepare_dataset
from disdel.controller.actions import SizedAction
from disdel.controller.collecting import Collector
from disdel.controller.compiled import CompiledNetwork, compile_network
from disdel.controller.crew import Crew, epoch_of
from disdel.controller.fleet import Fleet, Trained
from disdel.controller.history import history_of
from disdel.controller.invoker import Invoker, all_of
from disdel.controller.lifecycle import run_to_report
from disdel.controller.networks import choose_network, code_of
from disdel.controller.planning import ask, observe, remaining_s, remember
from disdel.controller.progress import (
    CompleteRound,
    Progress,
    ProgressFiles,
    slots_name,
    state_name,
)
from disdel.controller.resuming import Resumed, take_up
from disdel.controller.run_folder import RunFolder, create_run_folder
from disdel.controller.session import open_session
from disdel.controller.settings import Settings
from disdel.controller.staging import shard_keys, stage
from disdel.controller.stopping import best_round, is_validated, model_round, reason_to_stop
from disdel.errors import ActivationFailed, DisdelError, TrainingDiverged, UsageError
from disdel.events import Listener, Noted, PlanMade, PlatformReady, RoundDone, RoundStarted
from disdel.platforms.base import ActionSpec
from disdel.scheduler.memory import score_batch
from disdel.scheduler.plan import make_plan
from disdel.scheduler.question import Question
from disdel.scheduler.runtimes import BASE_IMAGE, RUNTIMES
from disdel.store.keys import RunKeys
from disdel.types import (
    DEFAULT_OPTIMIZER,
    Activation,
    ModelSpec,
    Plan,
    RoundReport,
    RunReport,
    Score,
    Shard,
    TrainJob,
)
from disdel.user_code import UserCode


async def train(
    job: TrainJob, settings: Settings, emit: Listener, *, resumed: Resumed | None = None
) -> tuple[RunReport, RunFolder]:
    """Run a train job to its end; the report is saved in the run's folder, also of a failed run.

    With `resumed`, the run is taken up after its last complete round.

    Raises:
        UsageError: the job cannot be done as asked; nothing was run and nothing is left.
        DisdelError: the run failed.
    """
    started_s = time.monotonic()
    arrays = await asyncio.to_thread(_load, job.dataset, config.data_dir(settings.data_dir))
    return await train_on(arrays, job, settings, emit, started_s=started_s, resumed=resumed)


async def train_on(
    arrays: DatasetArrays,
    job: TrainJob,
    settings: Settings,
    emit: Listener,
    *,
    started_s: float,
    resumed: Resumed | None = None,
) -> tuple[RunReport, RunFolder]:
    """`train` on samples that are at hand, in a run that began at `started_s`.

    Raises as `train` does.
    """
    model = await asyncio.to_thread(choose_network, job.model, arrays.spec, job.precision)
    if model.target == "number" and job.validation.target_accuracy is not None:
        raise UsageError(
            f"--target-accuracy needs classes, and {arrays.spec.name} has numbers to predict: stop "
            "early with --patience"
        )
    code = code_of(model)
    async with open_session(settings) as session:
        emit(PlatformReady(description=session.description))
        room_mb = session.store.room_mb()

        def planned(job: TrainJob) -> tuple[Question, Plan]:
            return make_plan(
                ask(job, arrays.spec, model, session.capacity, settings, store_mb=room_mb)
            )

        question, plan = planned(job)
        progress = Progress(
            job=replace(job, workers=plan.workers, runtime=plan.runtime, fan_in=plan.fan_in),
            dataset=(arrays.spec.version, arrays.spec.train_samples, arrays.spec.test_samples),
            planned_rounds=plan.rounds,
        )
        compiled = None
        if plan.runtime == "compiled":
            compiled = await asyncio.to_thread(
                compile_network,
                progress.job,
                arrays.spec,
                model,
                on_this_machine=session.platform_name == "embedded",
            )
        if resumed is None:
            folder = create_run_folder(config.run_dir(settings.run_dir), "train", job.dataset)
        else:
            progress, folder = take_up(resumed, progress, plan), resumed.folder
            # Of the time between the last complete round and now, nobody speaks.
            started_s -= progress.spent_s
        emit(PlanMade(run=folder.run, job=job, dataset=arrays.spec, model=model.name, plan=plan))
        invoker = Invoker(
            session, f"disdel-{folder.run}", RunKeys(folder.run), folder, emit, started_s
        )
        if code is not None:
            code.write(folder.code)
        crew = Crew(plan, lambda n: planned(replace(progress.job, workers=n))[1])
        run = _TrainRun(progress, model, code, compiled, crew, arrays, settings, invoker, emit)
        try:
            report = await run_to_report(
                invoker,
                run.execute,
                lambda: run.report(time.monotonic() - started_s),
                keep=settings.keep,
            )
        finally:
            history = history_of(question.shipped, settings)
            # A container that has had several shards tells nothing of any.
            if not crew.has_changed:
                remember(history, observe(question, plan, run.own_activations), emit)
    return report, folder


def _load(name: str, data_dir: Path) -> DatasetArrays:
    prepare_dataset(name, data_dir)
    return load_arrays(name, data_dir)


def _action(
    name: str,
    memory_mb: int,
    plan: Plan,
    settings: Settings,
    code: UserCode | None,
    compiled: CompiledNetwork | None,
) -> ActionSpec:
    if compiled is not None:
        return compiled.action(name, memory_mb=memory_mb, timeout_s=plan.timeout_s)
    trains = name == "train"
    return ActionSpec(
        name=name,
        image=settings.image(RUNTIMES[plan.runtime].image if trains else BASE_IMAGE),
        code=build_bundle(name, code if trains else None),
        memory_mb=memory_mb,
        timeout_s=plan.timeout_s,
    )


def _accuracy(replies: Sequence[wire.ScoreReply]) -> float | None:
    """None where there are no classes."""
    correct = [reply.correct for reply in replies if reply.correct is not None]
    return sum(correct) / sum(reply.samples for reply in replies) if correct else None


class _TrainRun:
    """The rounds of one run."""

    def __init__(
        self,
        progress: Progress,
        model: ModelSpec,
        code: UserCode | None,
        compiled: CompiledNetwork | None,
        crew: Crew,
        arrays: DatasetArrays,
        settings: Settings,
        invoker: Invoker,
        emit: Listener,
    ) -> None:
        self._progress = progress
        self._files = ProgressFiles(invoker.folder)
        job = self._job = progress.job
        self._model = model
        self._crew = crew
        plan = self._plan = crew.plan
        self._arrays = arrays
        self._settings = settings
        self._invoker = invoker
        self._emit = emit
        self._compiled = compiled
        platform, package = invoker.session.platform, invoker.package

        def sized(name: str, memory_mb: int) -> SizedAction:
            spec = _action(name, memory_mb, plan, settings, code, compiled)
            return SizedAction(platform, package, spec)

        train = sized("train", plan.memory_mb)
        self._collector = Collector(
            action=sized("collectWeights", plan.collect_memory_mb),
            invoker=invoker,
            fan_in=plan.fan_in,
            memory_max_mb=plan.memory_max_mb,
        )
        self._suffix = RUNTIMES[plan.runtime].model_suffix
        self._fleet = Fleet(job, plan, model, train, invoker, emit)
        self._rounds = [entry.report for entry in progress.rounds]
        self._ledger = [line for entry in progress.rounds for line in entry.ledger]
        invoker.journal.activations += [a for entry in progress.rounds for a in entry.activations]
        # The rounds whose averages are in the store; 0 is the initial state.
        self._states = {progress.done}
        # What earlier activations took, the controller of that time has observed.
        self._first_own = len(invoker.journal.activations)
        self._epochs = [epoch_of(entry.activations) for entry in progress.rounds]
        self._stopped: str | None = None
        self._saving: asyncio.Task[None] | None = None
        self._exported = False
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
        await asyncio.to_thread(self._restore)
        try:
            await self._all_rounds()
        except ActivationFailed as failure:
            if failure.cause != TrainingDiverged.kind:
                raise
            raise TrainingDiverged(
                f"{failure.reason}. {await self._keep_last_good()} Lower --learning-rate, or look "
                "at the model and its samples"
            ) from failure
        await self._fetch_model(self._invoker.folder.new_model(self._suffix))

    async def _fetch_model(self, path: Path) -> None:
        store, key = self._invoker.session.store, self._invoker.keys.model
        data = bytes(await asyncio.to_thread(store.get, key))
        if self._compiled is not None:
            data = await asyncio.to_thread(self._compiled.keras_file, data)
        path.write_bytes(data)

    async def _keep_last_good(self) -> str:
        """Save the model of the last round that was scored, and say where it is."""
        good = [entry.round for entry in self._rounds if entry.score is not None]
        if not good:
            return "No round had been scored, so there is no earlier model."
        number, path = good[-1], self._invoker.folder.last_good(self._suffix)
        try:
            [first, *_] = self._crew.plan.test_shards
            await self._fleet.score(self._slice(first, number, exports=True))
            await self._fetch_model(path)
        except DisdelError as error:
            return f"The model of round {number}, the last good one, could not be saved: {error}."
        said = f"The model of round {number}, the last good one, is in {path}"
        if self._model.target == "number":
            return f"{said}."
        return f"{said}: disdel infer {self._job.dataset} --model {path} evaluates it."

    def _restore(self) -> None:
        """Put what the last complete round has left where the next one looks for it."""
        store, keys, done = self._invoker.session.store, self._invoker.keys, self._progress.done
        states = {state_name(number): keys.state(number) for number in self._needed_states(done)}
        self._files.begin(self._progress)
        if not done:
            return
        self._states |= self._needed_states(done)
        for name, key in states.items():
            store.put(key, self._files.read_tensors(name))
        if self._job.optimizer_state == "local":
            for shard in self._plan.shards:
                key = keys.slots(done, shard.worker, 0, 0)
                store.put(key, self._files.read_tensors(slots_name(done, shard.worker)))
                self._fleet.slots[shard.worker] = key

    async def _all_rounds(self) -> None:
        try:
            for number in range(self._progress.done + 1, self._plan.rounds + 1):
                self._stopped = reason_to_stop(self._job.validation, self._rounds)
                if self._stopped is not None:
                    break
                self._adapt()
                await all_of((self._stage(), self._round(number)))
            await self._export()
        finally:
            await self._saved()

    def _adapt(self) -> None:
        """Cut the next round for as many workers as the policy wants."""
        if self._job.workers_policy == "fixed" or not self._epochs:
            return
        workers = self._crew.plan.workers
        plan = self._crew.after(self._epochs, self._job.workers_max)
        if plan.workers != workers:
            self._emit(Noted(message=f"workers from here on: {plan.workers}, not {workers}"))
            self._fleet.recut(plan)

    async def _stage(self) -> None:
        """Write the shards of the present cut that are not there, and delete those of the last."""
        store, keys, plan = self._invoker.session.store, self._invoker.keys, self._crew.plan
        if self._staged != shard_keys(keys, plan):
            await asyncio.to_thread(
                stage, store, keys, plan, self._arrays, self._job.seed, self._staged
            )

    async def _export(self) -> None:
        """Let a worker write the model's file, unless the last score has."""
        number = model_round(self._job.validation, self._rounds)
        assert number is not None
        if not self._exported:
            # A run that is resumed behind its last round has nothing staged.
            await self._stage()
            [first, *_] = self._crew.plan.test_shards
            await self._fleet.score(self._slice(first, number, exports=True))

    async def _round(self, number: int) -> None:
        """Fork, train, join, average, score."""
        started_s = time.monotonic()
        begun = len(self._invoker.journal.activations)
        rounds = self._plan.rounds
        workers = self._fleet.active(number)
        self._emit(RoundStarted(round=number, rounds=rounds, workers=workers))
        trained = await self._fleet.train_round(number)
        self._ledger += await self._collector.collect(number, [work.part for work in trained])
        await self._saved()
        await asyncio.to_thread(self._forget_parts, trained)
        validation, score = self._job.validation, None
        if is_validated(validation, number, rounds):
            score = await self._score(number)
        samples = sum(work.part.samples for work in trained)
        report = RoundReport(
            round=number,
            wall_s=time.monotonic() - started_s,
            train_loss=sum(work.loss_sum for work in trained) / samples,
            score=score,
        )
        self._rounds.append(report)
        await asyncio.to_thread(self._forget_states, number)
        ended = self._invoker.journal.activations[begun:]
        self._epochs.append(epoch_of(ended))
        complete = CompleteRound(
            report=report,
            ledger=tuple(entry for entry in self._ledger if entry.round == number),
            activations=tuple(ended),
        )
        # While the next round trains.
        slots = dict(self._fleet.slots)
        self._saving = asyncio.create_task(asyncio.to_thread(self._save, complete, slots))
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

    def _forget_parts(self, trained: list[Trained]) -> None:
        """Delete what went into the new average, so that a long run needs no more memory."""
        store = self._invoker.session.store
        for work in trained:
            for key in (work.part.key, *work.spent):
                store.delete(key)

    def _forget_states(self, last: int) -> None:
        """Delete the averages that nobody may need any more."""
        store, keys = self._invoker.session.store, self._invoker.keys
        needed = self._needed_states(last)
        for old in self._states - needed:
            store.delete(keys.state(old))
        self._states = needed

    def _needed_states(self, last: int) -> set[int]:
        """The rounds up to `last` whose averages may still be needed.

        Until a successor has been scored, the last that was scored is the last good one.
        """
        scored = [entry.round for entry in self._rounds if entry.score is not None]
        needed = {last, *scored[-1:]}
        if self._job.validation.patience is not None:
            needed.add(best_round(self._rounds) or last)
        return needed

    def _save(self, complete: CompleteRound, slots: dict[int, str]) -> None:
        """Save a complete round for a controller that may have to go on."""
        store, keys = self._invoker.session.store, self._invoker.keys
        number = complete.report.round
        wanted = {state_name(needed): keys.state(needed) for needed in self._needed_states(number)}
        wanted |= {slots_name(number, worker): key for worker, key in slots.items()}
        try:
            self._files.add(
                complete, {name: partial(store.get, key) for name, key in wanted.items()}
            )
        except OSError as error:
            self._emit(Noted(message=f"round {number} was not saved for --resume: {error}"))

    async def _saved(self) -> None:
        """Wait until the last round is saved."""
        if self._saving is not None:
            await self._saving

    async def _score(self, number: int) -> Score:
        """The average on the held-out split, in slices on the workers' warm containers."""
        slices = [shard for shard in self._crew.plan.test_shards if shard.samples]
        # Which round the model is of is known before the end only of a run without patience.
        exports = number == self._plan.rounds and self._job.validation.patience is None
        replies = await all_of(
            self._fleet.score(self._slice(s, number, exports=exports and s is slices[0]))
            for s in slices
        )
        self._exported = exports
        samples = sum(reply.samples for reply in replies)
        return Score(
            loss=sum(reply.loss_sum for reply in replies) / samples,
            accuracy=_accuracy(replies),
            samples=samples,
            metrics={
                name: sum(reply.metric_sums[name] for reply in replies) / samples
                for name in replies[0].metric_sums
            },
        )

    def _slice(self, shard: Shard, number: int, *, exports: bool) -> wire.ScoreRequest:
        keys = self._invoker.keys
        return wire.ScoreRequest(
            network=self._fleet.network(),
            worker=shard.worker,
            round=number,
            batch_size=score_batch(self._plan.micro_batches),
            shard_key=keys.shard("test", shard),
            state_key=keys.state(number),
            model_key=keys.model if exports else None,
            progress_key=keys.progress,
        )

    def _optimizer(self) -> str:
        own = self._model.own and self._model.own.optimizer
        return self._job.optimizer or own or DEFAULT_OPTIMIZER

    def report(self, wall_s: float) -> RunReport:
        """What is known of the run now."""
        validation = self._job.validation
        number = model_round(validation, self._rounds)
        last = None if number is None else self._rounds[number - 1].score
        model = self._invoker.folder.model
        return RunReport(
            run=self._invoker.folder.run,
            job="train",
            dataset=self._job.dataset,
            platform=self._invoker.session.platform_name,
            status="ok",
            wall_s=wall_s,
            settings={
                "batch": self._job.batch_size,
                "epochs": self._job.epochs,
                "sync": self._job.sync,
                "workers": self._plan.workers,
                "workers_policy": self._job.workers_policy,
                "workers_max": self._job.workers_max,
                "runtime": self._plan.runtime,
                "precision": self._job.precision,
                "seed": self._job.seed,
                "model": self._model.name,
                "optimizer": self._optimizer(),
                "learning_rate": self._job.learning_rate,
                "schedule": self._job.rate_schedule.shape,
                "warmup": self._job.rate_schedule.warmup,
                "average": self._job.average,
                "validate_every": validation.every,
                "target_accuracy": validation.target_accuracy,
                "patience": validation.patience,
                "optimizer_state": self._job.optimizer_state,
                "memory_max_mb": self._settings.limits.memory_max_mb,
                "pool_memory_mb": self._settings.limits.pool_memory_mb,
                "timeout_max_s": self._settings.limits.timeout_max_s,
                "optimize": self._settings.aims.optimize,
                "estimator": self._settings.aims.estimator,
                "miss_rate": self._settings.aims.miss_rate,
            },
            accuracy=None if last is None else last.accuracy,
            loss=None if last is None else last.loss,
            model=str(model) if model.is_file() else None,
            plan=self._plan,
            rounds=tuple(self._rounds),
            activations=tuple(self._invoker.journal.activations),
            ledger=tuple(self._ledger),
            totals=self._invoker.journal.totals(),
            model_round=number,
            stopped=self._stopped,
            resumed_after=self._progress.done or None,
        )
