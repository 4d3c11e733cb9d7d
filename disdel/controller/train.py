"""A train run: plan, deploy, rounds of fork and join, the ensemble, and the report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from disdel import config, wire
from disdel.bundle import build_bundle
from disdel.catalog.datasets import DatasetArrays, load_arrays, prepare_dataset
from disdel.catalog.models import choose_model, model_facts
from disdel.controller.invoker import Call, Invoker, all_of
from disdel.controller.lifecycle import run_to_report
from disdel.controller.run_folder import RunFolder, create_run_folder
from disdel.controller.session import open_session
from disdel.controller.settings import Settings
from disdel.controller.staging import stage
from disdel.events import Listener, PlanMade, PlatformReady, RoundDone, RoundStarted
from disdel.platforms.base import ActionSpec
from disdel.scheduler.plan import make_plan
from disdel.scheduler.runtimes import BASE_IMAGE, TENSORFLOW
from disdel.store.keys import RunKeys
from disdel.training.schedule import Schedule, round_steps
from disdel.types import ModelSpec, Plan, RoundReport, RunReport, Score, Shard, TrainJob


async def train(job: TrainJob, settings: Settings, emit: Listener) -> tuple[RunReport, RunFolder]:
    """Run a train job to its end; the report is saved in the run's folder, also of a failed run.

    Raises:
        UsageError: the job cannot be done as asked; nothing was run and nothing is left.
        DisdelError: the run failed.
    """
    started_s = time.monotonic()
    arrays = await asyncio.to_thread(_load, job.dataset, config.data_dir(settings.data_dir))
    model = choose_model(job.model, arrays.spec)
    async with open_session(settings) as session:
        emit(PlatformReady(description=session.description))
        plan = make_plan(
            job, arrays.spec, model_facts(model), TENSORFLOW, session.capacity, settings.limits
        )
        folder = create_run_folder(config.run_dir(settings.run_dir), "train", job.dataset)
        emit(PlanMade(run=folder.run, job=job, dataset=arrays.spec, model=model.name, plan=plan))
        invoker = Invoker(session, f"disdel-{folder.run}", RunKeys(folder.run), folder, emit)
        run = _TrainRun(job, model, plan, arrays, invoker, emit)
        report = await run_to_report(
            invoker,
            _actions(plan),
            run.execute,
            lambda: run.report(settings, time.monotonic() - started_s),
            keep=settings.keep,
        )
    return report, folder


def _load(name: str, data_dir: Path) -> DatasetArrays:
    prepare_dataset(name, data_dir)
    return load_arrays(name, data_dir)


def _actions(plan: Plan) -> Sequence[ActionSpec]:
    return (
        ActionSpec(
            name="train",
            image=TENSORFLOW.image,
            code=build_bundle("train"),
            memory_mb=plan.memory_mb,
            timeout_s=plan.timeout_s,
        ),
        ActionSpec(
            name="collectWeights",
            image=BASE_IMAGE,
            code=build_bundle("collectWeights"),
            memory_mb=plan.collect_memory_mb,
            timeout_s=plan.timeout_s,
        ),
    )


@dataclass(slots=True)
class _TrainRun:
    """The rounds of one run."""

    job: TrainJob
    model: ModelSpec
    plan: Plan
    arrays: DatasetArrays
    invoker: Invoker
    emit: Listener
    rounds: list[RoundReport] = field(default_factory=list)

    async def execute(self) -> None:
        """Train to the last round and save the ensemble.

        The first activations start their containers while the shards are still being written, and
        wait for theirs.
        """
        store = self.invoker.session.store
        await all_of(
            (
                asyncio.to_thread(
                    stage, store, self.invoker.keys, self.plan, self.arrays, self.job.seed
                ),
                self._all_rounds(),
            )
        )
        data = await asyncio.to_thread(store.get, self.invoker.keys.model)
        self.invoker.folder.model.write_bytes(data)

    async def _all_rounds(self) -> None:
        for number in range(1, self.plan.rounds + 1):
            await self._round(number)

    async def _round(self, number: int) -> None:
        """Fork, train, join, average, score."""
        started_s = time.monotonic()
        begun = len(self.invoker.journal.activations)
        ranges = {shard.worker: self._steps(shard, number) for shard in self.plan.shards}
        active = [shard for shard in self.plan.shards if len(ranges[shard.worker])]
        self.emit(RoundStarted(round=number, rounds=self.plan.rounds, workers=len(active)))
        trained = await all_of(
            self._train_worker(shard, number, ranges[shard.worker]) for shard in active
        )
        await self._collect(number, [work.part for work in trained])
        score = await self._score(number)
        samples = sum(work.part.samples for work in trained)
        report = RoundReport(
            round=number,
            wall_s=time.monotonic() - started_s,
            train_loss=sum(work.loss_sum for work in trained) / samples,
            score=score,
        )
        self.rounds.append(report)
        ended = self.invoker.journal.activations[begun:]
        self.emit(
            RoundDone(
                rounds=self.plan.rounds,
                report=report,
                cold=sum(activation.start == "cold" for activation in ended),
                warm=sum(activation.start == "warm" for activation in ended),
                peak_mb=max(activation.peak_mb or 0 for activation in ended),
            )
        )

    def _steps(self, shard: Shard, number: int) -> range:
        schedule = Schedule(shard.samples, self.job.batch_size, self.job.seed, shard.worker)
        return range(
            *round_steps(
                schedule,
                epochs=self.job.epochs,
                rounds=self.plan.rounds,
                sync=self.job.sync,
                round_number=number,
            )
        )

    async def _train_worker(self, shard: Shard, number: int, steps: range) -> _Trained:
        """One worker's round, in as many segments as the time limit makes of it."""
        keys, worker = self.invoker.keys, shard.worker
        state_key, next_step, samples, loss_sum = keys.state(number - 1), steps.start, 0, 0.0
        segment = 0
        while True:
            request = wire.TrainRequest(
                network=self._network(),
                worker=worker,
                round=number,
                segment=segment,
                batch_size=self.job.batch_size,
                start_step=next_step,
                stop_step=steps.stop,
                shard_key=keys.shard("train", worker),
                state_key=state_key,
                initialise=number == 1 and segment == 0,
                part_key=keys.part(number, worker, attempt=0),
                checkpoint_key=keys.checkpoint(number, worker, segment),
                progress_key=keys.progress,
            )
            reply = await self.invoker.call(
                self._call("train", request, worker, number, segment), wire.TrainReply
            )
            samples += reply.samples
            loss_sum += reply.loss_sum
            if reply.outcome == "ok":
                part = wire.Part(worker=worker, key=request.part_key, samples=samples)
                return _Trained(part, loss_sum)
            next_step, state_key = reply.next_step, request.checkpoint_key
            segment += 1

    async def _collect(self, number: int, parts: list[wire.Part]) -> None:
        request = wire.CollectRequest(
            round=number, parts=tuple(parts), state_key=self.invoker.keys.state(number)
        )
        call = Call(
            action="collectWeights",
            request=request,
            task="collect",
            worker=None,
            round=number,
            memory_mb=self.plan.collect_memory_mb,
        )
        await self.invoker.call(call, wire.CollectReply)

    async def _score(self, number: int) -> Score:
        """The average on the held-out split, in slices on the workers' warm containers."""
        slices = [shard for shard in self.plan.test_shards if shard.samples]
        replies = await all_of(self._score_slice(shard, number) for shard in slices)
        samples = sum(reply.samples for reply in replies)
        return Score(
            loss=sum(reply.loss_sum for reply in replies) / samples,
            accuracy=sum(reply.correct for reply in replies) / samples,
            samples=samples,
        )

    async def _score_slice(self, shard: Shard, number: int) -> wire.ScoreReply:
        keys = self.invoker.keys
        exports = number == self.plan.rounds and shard.worker == 0
        request = wire.ScoreRequest(
            network=self._network(),
            worker=shard.worker,
            round=number,
            shard_key=keys.shard("test", shard.worker),
            state_key=keys.state(number),
            model_key=keys.model if exports else None,
            progress_key=keys.progress,
        )
        return await self.invoker.call(
            self._call("score", request, shard.worker, number), wire.ScoreReply
        )

    def _call(self, task: str, request: object, worker: int, number: int, segment: int = 0) -> Call:
        return Call(
            action="train",
            request=request,
            task=task,
            worker=worker,
            round=number,
            segment=segment,
            memory_mb=self.plan.memory_mb,
        )

    def _network(self) -> wire.Network:
        return wire.Network(
            model=self.model,
            optimizer=self.job.optimizer,
            learning_rate=self.job.learning_rate,
            seed=self.job.seed,
            threads=self.plan.threads,
        )

    def report(self, settings: Settings, wall_s: float) -> RunReport:
        """What is known of the run now."""
        last = self.rounds[-1].score if self.rounds else None
        model = self.invoker.folder.model
        return RunReport(
            run=self.invoker.folder.run,
            job="train",
            dataset=self.job.dataset,
            platform=self.invoker.session.platform_name,
            status="ok",
            wall_s=wall_s,
            settings={
                "batch": self.job.batch_size,
                "epochs": self.job.epochs,
                "sync": self.job.sync,
                "workers": self.plan.workers,
                "seed": self.job.seed,
                "model": self.model.name,
                "optimizer": self.job.optimizer,
                "learning_rate": self.job.learning_rate,
                "memory_max_mb": settings.limits.memory_max_mb,
                "pool_memory_mb": settings.limits.pool_memory_mb,
                "timeout_max_s": settings.limits.timeout_max_s,
            },
            accuracy=None if last is None else last.accuracy,
            loss=None if last is None else last.loss,
            model=str(model) if model.is_file() else None,
            plan=self.plan,
            rounds=tuple(self.rounds),
            activations=tuple(self.invoker.journal.activations),
            totals=self.invoker.journal.totals(),
        )


@dataclass(frozen=True, slots=True)
class _Trained:
    """A worker's round: its part, and its loss summed over the samples."""

    part: wire.Part
    loss_sum: float
