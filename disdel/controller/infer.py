"""An infer run: a trained model on the held-out split of its data set, or on the user's samples."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from disdel import config, wire
from disdel.arrays import Array
from disdel.bundle import build_bundle
from disdel.catalog.datasets import describe_dataset, load_arrays, prepare_dataset
from disdel.controller.actions import SizedAction, call_persistently
from disdel.controller.history import history_of
from disdel.controller.inputs import Inputs, read_inputs
from disdel.controller.invoker import Call, Invoker, all_of
from disdel.controller.lifecycle import run_to_report
from disdel.controller.run_folder import (
    create_run_folder,
    find_run,
    latest_trained,
)
from disdel.controller.session import open_session
from disdel.controller.settings import Settings
from disdel.controller.staging import encode_samples
from disdel.errors import InsufficientMemory, UsageError
from disdel.events import Listener, Noted, PlatformReady
from disdel.platforms.base import ActionSpec
from disdel.scheduler.calibration import calibrated
from disdel.scheduler.candidates import round_up_memory
from disdel.scheduler.memory import estimate_evaluate
from disdel.scheduler.runtimes import RUNTIMES, Runtime, runtime_of
from disdel.store.codec import read_tensors
from disdel.store.keys import RunKeys
from disdel.types import Capacity, DatasetSpec, RunReport
from disdel.units import MIB

_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InferJob:
    """What the user asked for.

    Attributes:
        dataset: the data set whose held-out split is evaluated, or whose shapes the input has.
        model: a run's id or a model file; None for the newest run that trained on the data set.
        input: samples to predict instead of the held-out split.
    """

    dataset: str
    model: str | None = None
    input: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Class probabilities, (samples, classes) float32, with a name for each sample."""

    names: tuple[str, ...]
    probabilities: Array
    class_names: tuple[str, ...]

    def top(self, index: int) -> tuple[str, float]:
        """The likeliest class of a sample and its probability."""
        best = int(self.probabilities[index].argmax())
        name = self.class_names[best] if best < len(self.class_names) else str(best)
        return name, float(self.probabilities[index][best])


async def infer(job: InferJob, settings: Settings, emit: Listener) -> tuple[RunReport, Predictions]:
    """Run an infer job to its end; the report is saved in a folder of its own.

    Raises:
        UsageError: no such model, data set or input; nothing was run and nothing is left.
        DisdelError: the run failed.
    """
    started_s = time.monotonic()
    run_dir = config.run_dir(settings.run_dir)
    data_dir = config.data_dir(settings.data_dir)
    model = _find_model(job, run_dir)
    runtime = runtime_of(model)
    source = await asyncio.to_thread(_load_source, job, data_dir)
    if source.resized:
        emit(Noted(message=f"{source.resized} images were scaled to {source.spec.input_shape[:2]}"))
    async with open_session(settings) as session:
        emit(PlatformReady(description=session.description))
        memory_mb = _memory_mb(source, model, runtime, settings, session.capacity)
        folder = create_run_folder(run_dir, "infer", job.dataset)
        invoker = Invoker(
            session, f"disdel-{folder.run}", RunKeys(folder.run), folder, emit, started_s
        )
        timeout_s = min(
            _TIMEOUT_S, settings.limits.timeout_max_s or _TIMEOUT_S, session.capacity.timeout_max_s
        )
        spec = ActionSpec(
            name="evaluate",
            image=settings.image(runtime.image),
            code=build_bundle("evaluate"),
            memory_mb=memory_mb,
            timeout_s=timeout_s,
        )
        action = SizedAction(session.platform, invoker.package, spec)
        run = _InferRun(job, model, source, action, session.capacity, invoker)
        report = await run_to_report(
            invoker,
            run.execute,
            lambda: run.report(time.monotonic() - started_s),
            keep=settings.keep,
        )
    return report, run.predictions()


def _find_model(job: InferJob, run_dir: Path) -> Path:
    if job.model is None:
        return latest_trained(run_dir, job.dataset).model
    path = Path(job.model)
    if path.suffix in {runtime.model_suffix for runtime in RUNTIMES.values()}:
        if not path.is_file():
            raise UsageError(f"--model {path} does not exist")
        return path
    folder = find_run(run_dir, job.model)
    if not folder.model.is_file():
        raise UsageError(f"run {folder.run} left no model; its report says why: {folder.report}")
    return folder.model


@dataclass(frozen=True, slots=True)
class _Source:
    """The samples of a run: the held-out split with labels, or the user's without."""

    spec: DatasetSpec
    x: Array
    y: Array | None
    names: tuple[str, ...]
    resized: int = 0


def _load_source(job: InferJob, data_dir: Path) -> _Source:
    if job.input is not None:
        spec = describe_dataset(job.dataset, data_dir)
        inputs: Inputs = read_inputs(job.input, spec)
        return _Source(spec, inputs.x, None, inputs.names, inputs.resized)
    prepare_dataset(job.dataset, data_dir)
    arrays = load_arrays(job.dataset, data_dir)
    names = tuple(f"{job.dataset}/test[{index}]" for index in range(len(arrays.test_x)))
    return _Source(arrays.spec, arrays.test_x, arrays.test_y, names)


def _memory_mb(
    source: _Source, model: Path, shipped: Runtime, settings: Settings, capacity: Capacity
) -> int:
    """The memory limit of the evaluate action.

    Raises:
        InsufficientMemory: it is above what the platform or the user allows.
    """
    runtime = calibrated(shipped, history_of(shipped, settings).read())
    estimate = estimate_evaluate(
        runtime,
        source.spec,
        model_bytes=model.stat().st_size,
        samples=len(source.x),
        batch_size=256,
    )
    needed_mb = round_up_memory(estimate.total / MIB, capacity.memory_min_mb)
    allowed_mb = min(capacity.memory_max_mb, settings.limits.memory_max_mb or needed_mb)
    if needed_mb > allowed_mb:
        raise InsufficientMemory(
            f"an evaluate action needs {needed_mb} MB ({estimate.pkg / MIB:.0f} for the framework) "
            f"and {allowed_mb} MB is the limit; raise --memory-max or the platform's limit to "
            f"{needed_mb}, or evaluate fewer samples"
        )
    return needed_mb


class _InferRun:
    """One evaluation."""

    def __init__(
        self,
        job: InferJob,
        model: Path,
        source: _Source,
        action: SizedAction,
        capacity: Capacity,
        invoker: Invoker,
    ) -> None:
        self._job = job
        self._model = model
        self._source = source
        self._action = action
        self._capacity = capacity
        self._invoker = invoker
        self._reply: wire.EvaluateReply | None = None
        self._probabilities: Array = np.empty((0, 0), np.float32)

    async def execute(self) -> None:
        store, keys = self._invoker.session.store, self._invoker.keys
        store.put(keys.model, self._model.read_bytes())
        request = wire.EvaluateRequest(
            threads=self._capacity.cpus,
            model_key=keys.model,
            input_key=keys.input,
            output_key=keys.output,
        )
        call = Call(
            action=self._action.spec.name,
            request=request,
            task="evaluate",
            worker=0,
            round=0,
            memory_mb=self._action.spec.memory_mb,
        )
        evaluating = call_persistently(
            self._action,
            self._invoker,
            call,
            wire.EvaluateReply,
            ceiling_mb=self._capacity.memory_max_mb,
        )
        _, self._reply = await all_of((self._stage(), evaluating))
        tensors = await asyncio.to_thread(read_tensors, store, keys.output)
        self._probabilities = tensors["probabilities"]

    async def _stage(self) -> None:
        """Write the samples while the container starts."""
        store, key = self._invoker.session.store, self._invoker.keys.input
        data = await asyncio.to_thread(encode_samples, self._source.x, self._source.y)
        await asyncio.to_thread(store.put, key, data)

    def predictions(self) -> Predictions:
        return Predictions(
            names=self._source.names,
            probabilities=self._probabilities,
            class_names=self._source.spec.class_names,
        )

    def report(self, wall_s: float) -> RunReport:
        """What is known of the run now."""
        accuracy = loss = None
        reply = self._reply
        if reply is not None and reply.correct is not None and reply.loss_sum is not None:
            accuracy, loss = reply.correct / reply.samples, reply.loss_sum / reply.samples
        return RunReport(
            run=self._invoker.folder.run,
            job="infer",
            dataset=self._job.dataset,
            platform=self._invoker.session.platform_name,
            status="ok",
            wall_s=wall_s,
            settings={
                "model": str(self._model),
                "input": None if self._job.input is None else str(self._job.input),
                "samples": len(self._source.x),
            },
            accuracy=accuracy,
            loss=loss,
            model=str(self._model),
            activations=tuple(self._invoker.journal.activations),
            totals=self._invoker.journal.totals(),
        )
