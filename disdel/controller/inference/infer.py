"""An infer run: a trained model on the test split of its data set, or on the user's samples."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from disdel.controller.inference.endpoint_slices import plan_at_endpoints
from disdel.controller.inference.evaluating import Evaluators
from disdel.controller.inference.inputs import read_inputs
from disdel.controller.inference.metrics import (
    evaluate_classes,
    evaluate_numbers,
    mean_loss,
    write_confusion,
)
from disdel.controller.inference.model_source import ModelSource, find_model
from disdel.controller.inference.predictions import NumberPredictions, Predictions
from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.bundle import build_bundle, check_code
from disdel.controller.invoking.invoker import Invoker, all_of
from disdel.controller.invoking.journal import endpoint_reports
from disdel.controller.lifecycle import run_to_report
from disdel.controller.planning.carried import check_carried
from disdel.controller.planning.floors import shipped_costs
from disdel.controller.planning.history import history_of
from disdel.controller.planning.nodes import with_nodes
from disdel.controller.planning.plan_report import plan_report
from disdel.controller.runs.lease import claimed
from disdel.controller.runs.run_folder import RunFolder, check_run_dir, create_run_folder
from disdel.controller.session import Session, open_session, warn_of_store
from disdel.controller.training.staging import stage_inputs
from disdel.data import describe_dataset, load_arrays, prepare_dataset
from disdel.errors import UsageError
from disdel.host.helper import in_thread
from disdel.planner.infer_plan import InferQuestion, make_infer_plan
from disdel.planner.memory import sample_bytes
from disdel.platforms.base import ActionSpec, Provider
from disdel.protocol.keys import RunKeys
from disdel.runtimes.registry import files_of, runtime_of
from disdel.settings import Settings, entries
from disdel.settings.read_options import TableOptions
from disdel.types import (
    Capacity,
    DatasetSpec,
    Evaluation,
    InferJob,
    InferPlan,
    NumberEvaluation,
    RunReport,
    nameless,
)
from disdel.types.arrays import Array
from disdel.types.events import InferPlanMade, Listener, Noted, PlatformReady


@dataclass(frozen=True, slots=True)
class Inferred:
    """A finished inference.

    Attributes:
        report: everything that is known of the run.
        predictions: the classes, or the numbers, that the model predicted.
        folder: where its report and logs are.
    """

    report: RunReport
    predictions: Predictions | NumberPredictions
    folder: RunFolder

    @property
    def accuracy(self) -> float | None:
        """On the samples; None where their classes are not known, or where there are none."""
        return self.report.accuracy


async def infer(
    job: InferJob,
    settings: Settings,
    emit: Listener,
    *,
    table: TableOptions | None = None,
    provider: Provider | None = None,
) -> Inferred:
    """Run an infer job to its end; the report is saved in a folder of its own.

    Args:
        job: what the user asked for.
        settings: where it runs.
        emit: told of every event.
        table: how the table of its input is read, where not as the data set's.
        provider: of the platform, where something of that has begun already.

    Raises:
        UsageError: no such model, data set or input; nothing was run and nothing is left.
        DisdelError: the run failed.
    """
    started_s = time.monotonic()
    run_dir = settings.run_dir
    model = find_model(job.model, job.dataset, run_dir, job.model_code, trust_code=job.trust_code)
    runtime = runtime_of(model.path)
    if provider is not None and runtime.image:
        provider.expect(settings.image(runtime.image))
    source = await in_thread(_load_source, job, settings.data_dir, table or TableOptions())
    model.check_takes(source.spec)
    check_run_dir(run_dir)
    if (changed := model.changed_code()) is not None:
        emit(Noted(message=changed))
    for line in source.told:
        emit(Noted(message=line))
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_session(settings, emit, provider=provider))
        emit(PlatformReady(description=opened.description))
        session = await with_nodes(opened, settings, emit)
        plan = _planned(job, source, model, session, settings)
        sent = max(part.samples for part in plan.slices)
        check_carried(session, sent * sample_bytes(source.spec) + model.size_bytes)
        warn_of_store(session, plan.store_mb, emit)
        spec = ActionSpec(
            name="evaluate",
            image=settings.image(runtime.image),
            code=build_bundle("evaluate", model.code, files=files_of(runtime)),
            memory_mb=plan.memory_mb,
            timeout_s=plan.timeout_s,
        )
        check_code("the action", spec.code, session.capacity)
        folder = create_run_folder(run_dir, "infer", job.dataset)
        lease = stack.enter_context(claimed(folder.path))
        emit(
            InferPlanMade(
                run=folder.run,
                dataset=source.spec,
                samples=len(source.x),
                model=str(model.path),
                model_bytes=model.size_bytes,
                plan=plan,
            )
        )
        keys = RunKeys.of_turn(folder.run, lease.holder.token)
        invoker = Invoker(session, f"disdel-{folder.run}", keys, folder, emit, started_s)
        run = _InferRun(job, model, source, plan, spec, settings, invoker)
        report = await run_to_report(
            invoker,
            run.execute,
            lambda: run.report(time.monotonic() - started_s),
            lease=lease,
            keep=settings.keep,
        )
    if isinstance(report.evaluation, Evaluation):
        try:
            write_confusion(folder.path, report.evaluation)
        except OSError as error:
            emit(Noted(message=f"the confusion matrix is not kept: {error}"))
    return Inferred(report, run.predictions(), folder)


@dataclass(frozen=True, slots=True)
class _Source:
    """The samples of a run: the test split, or the user's; `y` where targets are known."""

    spec: DatasetSpec
    x: Array
    y: Array | None
    names: tuple[str, ...]
    told: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """One a class: numbers where the data set has no names."""
        known = self.spec.class_names
        return tuple(known[i] if i < len(known) else str(i) for i in range(self.spec.classes))


def _load_source(job: InferJob, data_dir: Path, table: TableOptions) -> _Source:
    """The samples of the job.

    Raises:
        UsageError: there are none, or fewer classes than guesses.
    """
    if job.input is not None:
        spec = describe_dataset(job.dataset, data_dir)
        inputs = read_inputs(job.input, spec, table)
        source = _Source(spec, inputs.x, inputs.y, inputs.names, inputs.told)
    elif table.said is not None:
        raise UsageError(f"{table.said} is for a table of samples, and none is named by --input")
    else:
        prepare_dataset(job.dataset, data_dir)
        arrays = load_arrays(job.dataset, data_dir)
        names = tuple(str(index) for index in range(len(arrays.test_x)))
        source = _Source(arrays.spec, arrays.test_x, arrays.test_y, names)
    if job.top_k > 1 and not source.spec.classes:
        raise UsageError(f"--top-k needs classes, and {job.dataset} has numbers to predict")
    if job.top_k > max(1, source.spec.classes):
        raise UsageError(
            f"--top-k {job.top_k} is more than the {source.spec.classes} classes of {job.dataset}"
        )
    return source


def _planned(
    job: InferJob, source: _Source, model: ModelSource, session: Session, settings: Settings
) -> InferPlan:
    """The plan, at each endpoint of a platform that is several."""
    runtime, samples = runtime_of(model.path), len(source.x)

    def ask(
        capacity: Capacity, settings: Settings, samples: int, workers: int | None
    ) -> InferQuestion:
        return InferQuestion(
            dataset=source.spec,
            shipped=shipped_costs(runtime, settings),
            capacity=capacity,
            limits=settings.limits,
            aims=settings.aims,
            observations=history_of(runtime, settings).read(),
            store_mb=session.examination.room_mb,
            samples=samples,
            model_bytes=model.size_bytes,
            facts=model.facts(source.spec),
            workers=workers,
        )

    if session.endpoints is None:
        return make_infer_plan(ask(session.capacity, settings, samples, job.workers))
    return plan_at_endpoints(
        session.endpoints,
        lambda one, part, workers: ask(one.capacity, one.settings, part, workers),
        samples,
        job.workers,
    )


@dataclass(frozen=True, slots=True)
class _Scored:
    """What is told of a model on samples whose targets are known; all None where they are not."""

    evaluation: Evaluation | NumberEvaluation | None = None
    accuracy: float | None = None
    loss: float | None = None


class _InferRun:
    """One inference."""

    def __init__(
        self,
        job: InferJob,
        model: ModelSource,
        source: _Source,
        plan: InferPlan,
        spec: ActionSpec,
        settings: Settings,
        invoker: Invoker,
    ) -> None:
        self._job = job
        self._model = model
        self._source = source
        self._plan = plan
        self._settings = settings
        self._invoker = invoker
        action = SizedAction(
            invoker.session.platform,
            invoker.package,
            spec,
            timeout_max_s=plan.timeout_max_s,
            creating=invoker.creating,
            signer=invoker.signer,
        )
        self._evaluators = Evaluators(
            plan,
            runtime=runtime_of(model.path).name,
            target=nameless(source.spec.targets)[0],
            action=action,
            invoker=invoker,
        )
        self._outputs: Array = np.empty((0, *source.spec.target.predicted_shape), np.float32)
        # Which labels do, where the model masks some.
        self._counts: Array | None = None

    async def execute(self) -> None:
        """Evaluate every slice; containers start while the samples are still being written.

        Raises:
            UsageError: the model has another number of classes.
        """
        store, keys = self._invoker.session.store, self._invoker.keys
        staging = self._invoker.write(
            stage_inputs, store, keys, self._plan.slices, self._model.path, self._source.x
        )
        await all_of((staging, self._evaluate()))

    async def _evaluate(self) -> None:
        outputs, self._counts = await self._evaluators.run()
        if outputs.shape[1:] != self._source.spec.target.predicted_shape:
            raise UsageError(
                f"the model {self._model.path} has {outputs.shape[-1]} classes and "
                f"{self._job.dataset} has {self._source.spec.classes}"
            )
        self._outputs = outputs

    def predictions(self) -> Predictions | NumberPredictions:
        if not self._source.spec.classes:
            return NumberPredictions(
                inputs=self._source.names,
                numbers=self._outputs.reshape(-1, *self._source.spec.target.shape),
                true=self._source.y,
            )
        return Predictions(
            inputs=self._source.names,
            probabilities=self._outputs,
            labels=self._source.y,
            class_names=self._source.class_names,
            top_k=self._job.top_k,
        )

    def _scored(self) -> _Scored:
        """How far the outputs so far are right."""
        outputs, true = self._outputs, self._source.y
        if true is None or not len(outputs):
            return _Scored()
        if not self._source.spec.classes:
            numbers = outputs.reshape(true.shape)
            if self._counts is not None:
                numbers, true = numbers[self._counts], true[self._counts]
            if not len(true):
                return _Scored()
            errors = evaluate_numbers(numbers, true)
            return _Scored(errors, None, errors.mean_squared_error)
        # Of labels, where a sample has several.
        outputs, true = outputs.reshape(-1, outputs.shape[-1]), true.reshape(-1)
        if self._counts is not None:
            counts = self._counts.reshape(-1)
            outputs, true = outputs[counts], true[counts]
        if not len(true):
            return _Scored()
        evaluation = evaluate_classes(outputs, true, self._source.class_names, self._job.top_k)
        hits = sum(row[place] for place, row in enumerate(evaluation.confusion or ()))
        return _Scored(evaluation, hits / len(outputs), mean_loss(outputs, true))

    def report(self, wall_s: float) -> RunReport:
        """What is known of the run now."""
        scored, journal = self._scored(), self._invoker.journal
        return RunReport(
            run=self._invoker.folder.run,
            job="infer",
            dataset=self._job.dataset,
            platform=self._invoker.session.platform_name,
            status="ok",
            wall_s=round(wall_s, 3),
            settings={
                **entries(self._job),
                **entries(self._settings),
                # As they were used.
                "model": str(self._model.path),
                "samples": len(self._source.x),
                "workers": self._plan.workers,
            },
            accuracy=scored.accuracy,
            loss=scored.loss,
            model=str(self._model.path),
            plan=plan_report(self._plan),
            activations=tuple(journal.activations),
            totals=journal.totals(),
            evaluation=scored.evaluation,
            endpoints=endpoint_reports(self._plan.endpoints, journal.activations),
        )
