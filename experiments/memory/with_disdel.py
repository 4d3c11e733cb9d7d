"""The modes with disdel: one training run each, and what it says of memory and time."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from configurations import Configuration

from disdel.controller.planning.history import history_of
from disdel.controller.training import train as train_run
from disdel.errors import DisdelError
from disdel.jobs import run_train
from disdel.planner.question import Question
from disdel.runtimes.registry import all_runtimes
from disdel.settings import Settings
from disdel.types import (
    Aims,
    EstimatorName,
    Limits,
    Objective,
    Plan,
    RunReport,
    RuntimeName,
    TrainJob,
)
from disdel.types.events import PlanMade, PlatformReady, RunEnded
from disdel.types.units import MIB

SEED = 0
# No configuration needs a third of it, and four containers of it fit on the machine.
UNLIMITED_MB = 3072


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a configuration is run.

    Attributes:
        runtime: None leaves it to the planner.
        any_workers: leave the workers to the planner, whatever the configuration says.
        estimator: `--estimator`.
        optimize: `--optimize`.
        history: what earlier runs observed, and the run starts with, as they returned it.
        unlimited: give every train action `UNLIMITED_MB`, and change nothing else of the plan.
    """

    runtime: RuntimeName | None = None
    any_workers: bool = False
    estimator: EstimatorName = "measured"
    optimize: Objective = "time"
    history: tuple[dict, ...] = ()
    unlimited: bool = False


def run(configuration: Configuration, way: Way, data_dir: Path, work: Path) -> dict:
    """Train once.

    Args:
        configuration: the job.
        way: how it is run.
        data_dir: where its data set is.
        work: a folder for state and report; what it held is removed.

    Returns:
        The measurements; `observed` is what the run has added to the history.
    """
    shutil.rmtree(work, ignore_errors=True)
    job = TrainJob(
        dataset=configuration.dataset,
        model=configuration.network,
        runtime=way.runtime,
        batch_size=configuration.batch,
        epochs=configuration.epochs,
        workers=None if way.any_workers else configuration.workers,
        seed=SEED,
    )
    settings = Settings(
        data_dir=data_dir,
        run_dir=work / "runs",
        aims=Aims(estimator=way.estimator, optimize=way.optimize),
        limits=Limits(memory_max_mb=configuration.memory_max_mb),
    )
    os.environ["DISDEL_STATE_DIR"] = str(work / "state")
    _write_history(way.history, settings)
    heard = _Heard()
    error = None
    began_s = time.perf_counter()
    try:
        with _memory_of_plans(UNLIMITED_MB if way.unlimited else None):
            run_train(job, settings, heard)
    except DisdelError as failure:
        error = f"{failure.kind}: {failure}"
    wall_s = time.perf_counter() - began_s
    return {
        "status": "ok" if error is None else "failed" if heard.planned else "refused",
        "error": error,
        "platform": heard.platform,
        "history": len(way.history),
        "wall_s": wall_s,
        **({} if heard.planned is None else _of_plan(heard.planned)),
        **({} if heard.report is None else _of_report(heard.report)),
        "observed": _read_history(way.history, settings),
    }


def _write_history(history: Sequence[dict], settings: Settings) -> None:
    for runtime in all_runtimes():
        lines = [
            json.dumps(entry["observation"])
            for entry in history
            if entry["runtime"] == runtime.name
        ]
        path = history_of(runtime, settings).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _read_history(known: Sequence[dict], settings: Settings) -> list[dict]:
    """What was added to `known`."""
    added = []
    for runtime in all_runtimes():
        name, path = runtime.name, history_of(runtime, settings).path
        lines = path.read_text(encoding="utf-8").splitlines()
        count = sum(entry["runtime"] == name for entry in known)
        added += [{"runtime": name, "observation": json.loads(line)} for line in lines[count:]]
    return added


class _Heard:
    """What a run's events say, also of a run that failed."""

    def __init__(self) -> None:
        self.platform = ""
        self.planned: PlanMade | None = None
        self.report: RunReport | None = None

    def __call__(self, event: object) -> None:
        match event:
            case PlatformReady():
                self.platform = event.description.partition(", ")[2]
            case PlanMade():
                self.planned = event
            case RunEnded():
                self.report = event.report


@contextmanager
def _memory_of_plans(memory_mb: int | None) -> Iterator[None]:
    """Every plan made inside gives its train actions `memory_mb`; None leaves them alone.

    There is no option for it, since no user wants more memory than is needed. So the planner is
    replaced where the controller calls it; whatever else it decides stays.
    """
    planner = train_run.make_plan

    def generous(questions: Sequence[Question]) -> tuple[Question, Plan]:
        question, plan = planner(questions)
        return question, replace(plan, memory_mb=memory_mb)

    if memory_mb is not None:
        train_run.make_plan = generous
    try:
        yield
    finally:
        train_run.make_plan = planner


def _of_plan(made: PlanMade) -> dict:
    plan = made.plan
    parts = {part: round(size / MIB, 1) for part, size in asdict(plan.estimate).items()}
    return {
        "runtime": plan.runtime,
        "workers": plan.workers,
        "micro_batches": plan.micro_batches,
        "memory_mb": plan.memory_mb,
        "estimate_mb": {**parts, "total": round(plan.estimate.total / MIB, 1)},
        "zones_mb": asdict(plan.zones),
        "predicted_s": plan.predicted_s,
    }


def _of_report(report: RunReport) -> dict:
    totals = report.totals
    ours = [a for a in report.activations if a.worker is not None]
    trained = [a for a in ours if a.train_s is not None]
    outcomes = [a.outcome for a in ours]
    return {
        "working_set_mb": max((a.working_set_mb or 0 for a in ours), default=0) or None,
        "working_sets_mb": _by_worker(ours, "working_set_mb"),
        "framework_anonymous_mb": _by_worker(ours, "framework_anonymous_mb"),
        "framework_mapped_mb": _by_worker(ours, "framework_mapped_mb"),
        "peak_mb": max((a.peak_mb or 0 for a in ours), default=0) or None,
        "killed": outcomes.count("oom"),
        "timed_out": sum(a.outcome == "timeout" and a.attempt == 0 for a in ours),
        "errors": outcomes.count("error"),
        "continued_memory": outcomes.count("continued-memory"),
        "continued_time": outcomes.count("continued-time"),
        "train_s": sum(a.train_s for a in trained),
        "steps": sum(a.steps for a in trained),
        "accuracy": report.accuracy,
        "containers": totals.containers,
        "restarted": totals.restarted,
        "failed": totals.failed,
        "failure_rate": totals.failure_rate,
        "total_memory_mb": totals.memory_mb,
        "gb_s": totals.gb_s,
    }


def _by_worker(activations, field: str) -> list[int | None]:
    """The largest figure of each worker."""
    largest: dict[int, int] = {}
    for activation in activations:
        figure = getattr(activation, field) or 0
        largest[activation.worker] = max(figure, largest.get(activation.worker, 0))
    return [figure or None for _, figure in sorted(largest.items())]
