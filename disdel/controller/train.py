"""A train run: plan, deploy, rounds of fork and join, the ensemble, and the report."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from disdel import config, wire
from disdel.bundle import build_bundle
from disdel.catalog.datasets import DatasetArrays, load_arrays, prepare_dataset
from disdel.catalog.models import choose_model
from disdel.controller.actions import SizedAction
from disdel.controller.collecting import Collector
from disdel.controller.compiled import CompiledNetwork, compile_network
from disdel.controller.fleet import Fleet, Trained
from disdel.controller.history import history_of
from disdel.controller.invoker import Invoker, all_of
from disdel.controller.lifecycle import run_to_report
from disdel.controller.planning import ask, observe, remaining_s, remember
from disdel.controller.run_folder import RunFolder, create_run_folder
from disdel.controller.session import open_session
from disdel.controller.settings import Settings
from disdel.controller.staging import stage
from disdel.events import Listener, PlanMade, PlatformReady, RoundDone, RoundStarted
from disdel.platforms.base import ActionSpec
from disdel.scheduler.memory import score_batch
from disdel.scheduler.plan import make_plan
from disdel.scheduler.runtimes import BASE_IMAGE, RUNTIMES
from disdel.store.keys import RunKeys
from disdel.types import (
    LedgerEntry,
    ModelSpec,
    Plan,
    RoundReport,
    RunReport,
    Score,
    Shard,
    TrainJob,
)


async def train(job: TrainJob, settings: Settings, emit: Listener) -> tuple[RunReport, RunFolder]:
    """Run a train job to its end; the report is saved in the run's folder, also of a failed run.

    Raises:
        UsageError: the job cannot be done as asked; nothing was run and nothing is left.
        DisdelError: the run failed.
    """
    started_s = time.monotonic()
    arrays = await asyncio.to_thread(_load, job.dataset, config.data_dir(settings.data_dir))
    return await train_on(arrays, job, settings, emit, started_s=started_s)


async def train_on(
    arrays: DatasetArrays, job: TrainJob, settings: Settings, emit: Listener, *, started_s: float
) -> tuple[RunReport, RunFolder]:
    """`train` on samples that are at hand, in a run that began at `started_s`.

    Raises as `train` does.
    """
    model = choose_model(job.model, arrays.spec)
    async with open_session(settings) as session:
        emit(PlatformReady(description=session.description))
        questions = ask(
            job,
            arrays.spec,
            model,
            session.capacity,
            settings,
            store_mb=session.store.room_mb(),
        )
        question, plan = make_plan(questions)
        compiled = None
        if plan.runtime == "compiled":
            embedded = session.platform_name == "embedded"
            compiled = await asyncio.to_thread(
                compile_network, job, arrays.spec, model, on_this_machine=embedded
            )
        folder = create_run_folder(config.run_dir(settings.run_dir), "train", job.dataset)
        emit(PlanMade(run=folder.run, job=job, dataset=arrays.spec, model=model.name, plan=plan))
        invoker = Invoker(
            session, f"disdel-{folder.run}", RunKeys(folder.run), folder, emit, started_s
        )
        run = _TrainRun(job, model, plan, arrays, settings, invoker, emit, compiled)
        try:
            report = await run_to_report(
                invoker,
                run.execute,
                lambda: run.report(time.monotonic() - started_s),
                keep=settings.keep,
            )
        finally:
            history = history_of(question.shipped, settings)
            remember(history, observe(question, plan, invoker.journal.activations), emit)
    return report, folder


def _load(name: str, data_dir: Path) -> DatasetArrays:
    prepare_dataset(name, data_dir)
    return load_arrays(name, data_dir)


def _action(
    name: str, memory_mb: int, plan: Plan, settings: Settings, compiled: CompiledNetwork | None
) -> ActionSpec:
    if compiled is not None:
        return compiled.action(name, memory_mb=memory_mb, timeout_s=plan.timeout_s)
    image = RUNTIMES[plan.runtime].image if name == "train" else BASE_IMAGE
    return ActionSpec(
        name=name,
        image=settings.image(image),
        code=build_bundle(name),
        memory_mb=memory_mb,
        timeout_s=plan.timeout_s,
    )


class _TrainRun:
    """The rounds of one run."""

    def __init__(
        self,
        job: TrainJob,
        model: ModelSpec,
        plan: Plan,
        arrays: DatasetArrays,
        settings: Settings,
        invoker: Invoker,
        emit: Listener,
        compiled: CompiledNetwork | None,
    ) -> None:
        self._job = job
        self._model = model
        self._plan = plan
        self._arrays = arrays
        self._settings = settings
        self._invoker = invoker
        self._emit = emit
        self._compiled = compiled
        platform, package = invoker.session.platform, invoker.package

        def sized(name: str, memory_mb: int) -> SizedAction:
            spec = _action(name, memory_mb, plan, settings, compiled)
            return SizedAction(platform, package, spec)

        train = sized("train", plan.memory_mb)
        self._collector = Collector(
            action=sized("collectWeights", plan.collect_memory_mb),
            invoker=invoker,
            fan_in=plan.fan_in,
            memory_max_mb=plan.memory_max_mb,
        )
        self._fleet = Fleet(job, plan, model, train, invoker, emit)
        self._rounds: list[RoundReport] = []
        self._ledger: list[LedgerEntry] = []

    async def execute(self) -> None:
        """Train to the last round and save the ensemble.

        The first activations start their containers while the shards are still being written, and
        wait for theirs.
        """
        store = self._invoker.session.store
        await all_of(
            (
                asyncio.to_thread(
                    stage, store, self._invoker.keys, self._plan, self._arrays, self._job.seed
                ),
                self._all_rounds(),
            )
        )
        data = bytes(await asyncio.to_thread(store.get, self._invoker.keys.model))
        if self._compiled is not None:
            data = await asyncio.to_thread(self._compiled.keras_file, data)
        self._invoker.folder.model.write_bytes(data)

    async def _all_rounds(self) -> None:
        for number in range(1, self._plan.rounds + 1):
            await self._round(number)

    async def _round(self, number: int) -> None:
        """Fork, train, join, average, score."""
        started_s = time.monotonic()
        begun = len(self._invoker.journal.activations)
        rounds = self._plan.rounds
        workers = self._fleet.active(number)
        self._emit(RoundStarted(round=number, rounds=rounds, workers=workers))
        trained = await self._fleet.train_round(number)
        self._ledger += await self._collector.collect(number, [work.part for work in trained])
        await asyncio.to_thread(self._forget, number, trained)
        score = await self._score(number)
        samples = sum(work.part.samples for work in trained)
        report = RoundReport(
            round=number,
            wall_s=time.monotonic() - started_s,
            train_loss=sum(work.loss_sum for work in trained) / samples,
            score=score,
        )
        self._rounds.append(report)
        ended = self._invoker.journal.activations[begun:]
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

    def _forget(self, number: int, trained: list[Trained]) -> None:
        """Delete what the new average has replaced, so that a long run needs no more memory."""
        store = self._invoker.session.store
        for work in trained:
            for key in (work.part.key, *work.checkpoints):
                store.delete(key)
        store.delete(self._invoker.keys.state(number - 1))

    async def _score(self, number: int) -> Score:
        """The average on the held-out split, in slices on the workers' warm containers."""
        slices = [shard for shard in self._plan.test_shards if shard.samples]
        replies = await all_of(self._fleet.score(self._slice(s, number)) for s in slices)
        samples = sum(reply.samples for reply in replies)
        return Score(
            loss=sum(reply.loss_sum for reply in replies) / samples,
            accuracy=sum(reply.correct for reply in replies) / samples,
            samples=samples,
        )

    def _slice(self, shard: Shard, number: int) -> wire.ScoreRequest:
        keys = self._invoker.keys
        exports = number == self._plan.rounds and shard.worker == 0
        return wire.ScoreRequest(
            network=self._fleet.network(),
            worker=shard.worker,
            round=number,
            batch_size=score_batch(self._plan.micro_batches),
            shard_key=keys.shard("test", shard.worker),
            state_key=keys.state(number),
            model_key=keys.model if exports else None,
            progress_key=keys.progress,
        )

    def report(self, wall_s: float) -> RunReport:
        """What is known of the run now."""
        last = self._rounds[-1].score if self._rounds else None
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
                "runtime": self._plan.runtime,
                "seed": self._job.seed,
                "model": self._model.name,
                "optimizer": self._job.optimizer,
                "learning_rate": self._job.learning_rate,
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
        )
