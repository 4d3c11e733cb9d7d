"""The library's front: what the command line does, from Python."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack

from disdel.controller.federating import federate as federate_run
from disdel.controller.inference import infer as infer_run
from disdel.controller.inference.infer import Inferred
from disdel.controller.planning.checks import Check
from disdel.controller.planning.compiled import compile_job, compile_network
from disdel.controller.planning.endpoint_deploys import deploy_at_endpoints
from disdel.controller.planning.networks import code_of
from disdel.controller.planning.nodes import offered_capacity
from disdel.controller.planning.strategy_checks import check_count, check_waits
from disdel.controller.runs.cleaning import Cleared, clear_runs, stop_run
from disdel.controller.runs.run_folder import RunFolder, find_run, run_folders
from disdel.controller.training import calibration
from disdel.controller.training import train as train_run
from disdel.controller.training.calibration import Calibrated
from disdel.controller.training.offered import asking, plan_at
from disdel.controller.training.resuming import Resumed, read_resumed
from disdel.controller.training.splits import (
    job_partition,
    job_samples,
    train_labels,
    with_clients,
)
from disdel.data import load_arrays, prepare_dataset
from disdel.data.partitioners.looking import look
from disdel.errors import UsageError
from disdel.flower import run as flower_run
from disdel.host.interrupts import taken_as_interrupts
from disdel.planner.plan import make_plan
from disdel.planner.question import Question
from disdel.platforms.base import Provider
from disdel.platforms.prices import costs, price_given
from disdel.platforms.registry import chosen, give
from disdel.runtimes.registry import DEFAULT, runtime_named, runtime_of
from disdel.settings import Settings, changed, resolve
from disdel.settings.keywords import (
    FederateOptions,
    InferOptions,
    SettingsOptions,
    TrainOptions,
)
from disdel.settings.read_options import TableOptions
from disdel.settings.resolving import find
from disdel.settings.settings import NOT_OF_INFER
from disdel.settings.signatures import split, takes_settings
from disdel.settings.wording import in_keywords
from disdel.strategies.asking import in_words, strategy_of
from disdel.types import (
    Cost,
    FederateJob,
    InferJob,
    Plan,
    RunReport,
    RuntimeName,
    TrainJob,
    Validation,
)
from disdel.types.checks import taken
from disdel.types.dealt import DealtSamples
from disdel.types.events import (
    Event,
    Listener,
    Noted,
    PlanMade,
    RunEnded,
    check_listener,
    silent,
)
from disdel.types.flower import FlowerJob
from disdel.user_code.collecting import read_code
from disdel.user_code.module import UserModule

__all__ = [
    "Inferred",
    "Trained",
    "compile_ahead",
    "federate",
    "find_resumed",
    "infer",
    "look_at_partition",
    "partition",
    "plan_costs",
    "resume",
    "run_calibrate",
    "run_federate",
    "run_infer",
    "run_plan",
    "run_train",
    "stop",
    "train",
    "write_page",
]

T = TypeVar("T")
Job = TypeVar("Job", TrainJob, FederateJob)

# A thread that has been started is running long before.
_START_S = 5.0


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        report: everything that is known of the run.
        folder: where its report, logs and model are.
        settings: where it ran, for `evaluate`.
    """

    report: RunReport
    folder: Path
    settings: Settings

    @property
    def accuracy(self) -> float | None:
        """On the test split; None where there are no classes."""
        return self.report.accuracy

    @property
    def model_path(self) -> Path:
        """The file of the averaged model: Keras's, or safetensors of PyTorch tensors."""
        return RunFolder(self.folder).model

    @property
    def model(self) -> Any:
        """The averaged model, loaded in this process by the framework that trained it.

        For a network of your own, the code that made it is imported from the run's folder.

        Raises:
            UsageError: the file is no model, or that code fails here.
        """
        code = read_code(RunFolder(self.folder).code)
        module = None if code is None else UserModule(code.ref, code.folder)
        return runtime_of(self.model_path).load_networks().load_model(self.model_path, module)

    def evaluate(self, input: Path | str | None = None) -> RunReport:  # noqa: A002 - the command's word
        """Evaluate the averaged model in an action, on the test split or on `input`."""
        job = InferJob(
            dataset=self.report.dataset,
            model=str(self.model_path),
            input=taken("input", input, Path | None),
            trust_code=True,
        )
        with in_keywords(InferJob, Settings):
            return run_infer(job, self.settings, silent).report


@takes_settings(TrainJob, Settings)
def train(
    dataset: str,
    *,
    settings: Settings | None = None,
    listener: Listener = silent,
    on: Any = None,
    **options: Unpack[TrainOptions],
) -> Trained:
    """Train a network on a data set, sharded over actions that run at the same time.

    Args:
        dataset: a name of `disdel dataset list` or of the TFDS catalog, or `FILE.py:FUNCTION`.
        settings: where it runs; options that are given count before them.
        listener: called with every event of the run.
        on: an executor that runs the actions, which has `submit(f, *args)`, or a function that
            makes one; None leaves it to the settings.
        options: those of `disdel train`.

    Raises:
        UsageError: a value is of another type, or the job cannot be done as asked.
        DisdelError: the run failed.
    """
    check_listener(listener)
    job, settings = _asked(TrainJob, dataset, options, settings, on)
    report, folder = run_train(job, settings, listener)
    return Trained(report, folder.path, settings)


@takes_settings(FederateJob, Settings)
def federate(
    dataset: str,
    *,
    settings: Settings | None = None,
    listener: Listener = silent,
    on: Any = None,
    **options: Unpack[FederateOptions],
) -> Trained:
    """Train one network over many clients, of which some train in each round on their own samples.

    Args:
        dataset: a name of `disdel dataset list` or of the TFDS catalog, or `FILE.py:FUNCTION`.
        settings: where it runs; options that are given count before them.
        listener: called with every event of the run.
        on: an executor that runs the actions, which has `submit(f, *args)`, or a function that
            makes one; None leaves it to the settings.
        options: those of `disdel federate`.

    Raises:
        UsageError: a value is of another type, or the job cannot be done as asked.
        DisdelError: the run failed.
    """
    check_listener(listener)
    job, settings = _asked(FederateJob, dataset, options, settings, on)
    report, folder = run_federate(job, settings, listener)
    return Trained(report, folder.path, settings)


@takes_settings(InferJob, TableOptions, Settings, without=NOT_OF_INFER)
def infer(
    dataset: str,
    *,
    settings: Settings | None = None,
    listener: Listener = silent,
    on: Any = None,
    **options: Unpack[InferOptions],
) -> Inferred:
    """Evaluate a model on the held-out split of a data set, or predict samples (`input`).

    Args:
        dataset: a name of `disdel dataset list` or of the TFDS catalog, or `FILE.py:FUNCTION`.
        settings: where it runs; options that are given count before them.
        listener: called with every event of the run.
        on: an executor that runs the actions, which has `submit(f, *args)`, or a function that
            makes one; None leaves it to the settings.
        options: those of `disdel infer`.

    Raises:
        UsageError: a value is of another type; no such model, data set or input.
        DisdelError: the run failed.
    """
    check_listener(listener)
    of_job, of_table, of_settings = split(options, InferJob, TableOptions, Settings)
    if unused := sorted(
        NOT_OF_INFER & {name for name, value in of_settings.items() if value is not None}
    ):
        raise UsageError(f"{unused[0]} is for trainings, and an inference makes nothing of it")
    table = resolve(TableOptions, of_table)
    job = resolve(InferJob, {"dataset": dataset, **of_job})
    return run_infer(job, _settings(settings, of_settings, on), listener, table=table)


def _asked(
    of: type[Job], dataset: str, options: Mapping[str, Any], settings: Settings | None, on: Any
) -> tuple[Job, Settings]:
    """The job that a program's options say, and where it is to run.

    Raises:
        UsageError: a value is wrong, or two platforms are named.
    """
    of_job, of_settings = split(options, of, Settings)
    job = resolve(of, {"dataset": dataset, **in_words(of_job)})
    return job, _settings(settings, of_settings, on)


def _settings(
    settings: Settings | None, options: Mapping[str, Any] | None = None, on: Any = None
) -> Settings:
    """The settings that a program gives, with those of its options that it gives beside them.

    Raises:
        UsageError: a value is wrong, or two platforms are named.
    """
    if on is not None:
        options = {**(options or {}), **_platform_on(on, options or {})}
    given: Settings | None = taken("settings", settings, Settings | None)
    if given is None:
        return resolve(Settings, options or {})
    # None leaves it to them, as it leaves it to the environment where there are none.
    said = {name: value for name, value in (options or {}).items() if value is not None}
    return changed(given, said)


def _platform_on(on: Any, options: Mapping[str, Any]) -> dict[str, str]:
    """The option that names the platform of an executor.

    Raises:
        UsageError: it is none, or another platform is named as well.
    """
    from disdel.platforms.executor.provider import provider_on

    for name in ("platform", "apihost", "fabric"):
        if (said := options.get(name)) is not None:
            raise UsageError(f"on gives an executor, and {name} names {said}: leave one out")
    return {"platform": give(provider_on(on), on)}


def run_train(
    job: TrainJob,
    settings: Settings,
    listener: Listener = silent,
    *,
    resumed: Resumed | None = None,
    provider: Provider | None = None,
) -> tuple[RunReport, RunFolder]:
    """Run a train job, or the rest of one.

    Args:
        job: what to train.
        settings: where.
        listener: called with every event of the run.
        resumed: what is to be gone on with.
        provider: of the platform, where something of that has begun already.

    Raises:
        UsageError, DisdelError: as `train` does.
    """
    return _run(
        lambda: train_run.train(
            job, settings, _with_page(listener), resumed=resumed, provider=provider
        )
    )


def run_federate(
    job: FederateJob,
    settings: Settings,
    listener: Listener = silent,
    *,
    resumed: Resumed | None = None,
) -> tuple[RunReport, RunFolder]:
    """Run a federation, or the rest of one. Raises as `federate` does."""
    return _run(lambda: federate_run.federate(job, settings, _with_page(listener), resumed=resumed))


def deploy_endpoints(settings: Settings) -> list[Check]:
    """Make what runs have to find at each endpoint; of each by its name what was made, or lacks.

    Raises:
        UsageError: the settings name no endpoints.
    """
    return _run(partial(deploy_at_endpoints, settings))


def clear_endpoints(settings: Settings) -> list[Cleared]:
    """Remove what dead runs in `run_dir` have left at the endpoints; says of each what was done.

    Raises:
        UsageError: the settings name no endpoints.
    """
    return _run(lambda: clear_runs(run_folders(settings.run_dir), settings))


def run_flower(
    job: FlowerJob,
    settings: Settings,
    listener: Listener = silent,
    *,
    output: int | None = None,
) -> tuple[RunReport, RunFolder]:
    """Run a Flower app.

    Args:
        job: names it.
        settings: where it runs.
        listener: called with every event of the run.
        output: the descriptor that what its ServerApp prints goes to; None for standard output.

    Raises:
        UsageError: Flower would not run the app, or it cannot be run here.
        DisdelError: the run failed.
    """
    return _run(lambda: flower_run.flower(job, settings, _with_page(listener), output=output))


def find_resumed(run: str, run_dir: Path) -> Resumed:
    """The run in `run_dir` that is to be taken up, by its id or enough of it.

    Raises:
        UsageError: there is no such run, or it cannot be resumed.
    """
    return read_resumed(find_run(run_dir, run))


def stop(run: str, settings: Settings, *, forget: bool = False) -> str:
    """End a run and remove what it has created; says what was done.

    Args:
        run: its id, or enough of it.
        settings: how to reach the servers that it used, and in which `run_dir` it is.
        forget: give up what is on servers that do not answer any more.

    Raises:
        UsageError: there is no such run, or it has ended and left nothing.
        DisdelError: it could not be stopped, or not all could be removed.
    """
    folder = find_run(settings.run_dir, run)
    return _run(lambda: stop_run(folder, settings, forget=forget))


@takes_settings(Settings)
def resume(
    run: str,
    *,
    epochs: int | None = None,
    rounds: int | None = None,
    settings: Settings | None = None,
    listener: Listener = silent,
    on: Any = None,
    **options: Unpack[SettingsOptions],
) -> Trained:
    """Go on with a training or a federation after its last complete round.

    Args:
        run: its id, or enough of it.
        epochs: more epochs than a training had; None leaves them.
        rounds: more rounds than a federation had; None leaves them.
        settings: where it runs, and in which `run_dir` it is; options count before them.
        listener: called with every event from here on.
        on: an executor, as `train` takes it.
        options: those of `disdel train` that are not about the training itself.

    Raises:
        UsageError: a value is of another type, or it cannot be resumed.
        DisdelError: the run failed.
    """
    check_listener(listener)
    [of_settings] = split(options, Settings)
    settings = _settings(settings, of_settings, on)
    resumed = find_resumed(taken("run", run, str), settings.run_dir)
    epochs, rounds = taken("epochs", epochs, int | None), taken("rounds", rounds, int | None)
    with in_keywords(TrainJob, FederateJob):
        if resumed.progress.federation is None:
            if rounds is not None:
                raise UsageError("rounds is for federations, and a training has epochs")
            report, folder = run_train(resumed.job(epochs), settings, listener, resumed=resumed)
        else:
            if epochs is not None:
                raise UsageError("epochs is for trainings, and a federation has rounds")
            job = resumed.federation(rounds)
            report, folder = run_federate(job, settings, listener, resumed=resumed)
    return Trained(report, folder.path, settings)


def run_infer(
    job: InferJob,
    settings: Settings,
    listener: Listener = silent,
    *,
    table: TableOptions | None = None,
) -> Inferred:
    """Evaluate a model, or predict samples; `table` says how a table of them is read.

    Raises:
        UsageError: no such model, data set or input.
        DisdelError: the run failed.
    """
    return _run(lambda: infer_run.infer(job, settings, _with_page(listener), table=table))


def write_page(source: Path, target: Path) -> None:
    """Write the HTML page of a saved report, `source`, to `target`.

    Raises:
        UsageError: the one cannot be read or the other not written.
    """
    from disdel.report import html_report
    from disdel.types.report_json import read_report

    html_report.write_page(read_report(source), target)


def _with_page(listener: Listener) -> Listener:
    """The listener, and before it hears that the run has ended, the run's page."""

    def listen(event: Event) -> None:
        if isinstance(event, RunEnded):
            from disdel.report import html_report

            try:
                html_report.write_page(event.report, Path(event.folder) / html_report.PAGE_NAME)
            except UsageError as error:
                listener(Noted(message=f"the run has no page: {error}"))
        listener(event)

    return listen


def run_plan(job: TrainJob, settings: Settings) -> PlanMade:
    """The plan of a job; nothing is started.

    Raises:
        UsageError: the job cannot be done as asked.
    """
    strategy = strategy_of(job)
    check_waits(strategy)
    made_of = _run(partial(chosen(settings).endpoints, settings))
    if made_of is None:
        asked, plan = make_plan(_questions(job, settings))
    else:
        asked, plan = plan_at(made_of, job, settings)
    check_count(strategy, len(plan.client_samples), job.fan_in)
    return PlanMade(run="", job=job, dataset=asked.dataset, model=asked.model.name, plan=plan)


def partition(
    dataset: str,
    *,
    partition: str = "iid",
    clients: int | None = None,
    seed: int = 0,
    target_accuracy: float | None = None,
    patience: int | None = None,
    data_dir: Path | str | None = None,
) -> DealtSamples:
    """Look at how a partition deals a data set to clients; nothing is run.

    Args:
        dataset: as for `federate`.
        partition: what deals the training samples to clients.
        clients: how many there are; None for 10, or for as many as the partition makes.
        seed: of what is drawn.
        target_accuracy: as for `federate`; where it or `patience` decides, some samples are held
            out for that, and are nobody's.
        patience: likewise.
        data_dir: the folder of prepared data sets.

    Raises:
        UsageError: a value is of another type, or the samples cannot be dealt so.
    """
    job = FederateJob(
        dataset=dataset,
        partition=partition,
        clients=clients,
        seed=seed,
        validation=Validation(target_accuracy=target_accuracy, patience=patience),
    )
    folder = find(Settings, "data_dir", taken("data_dir", data_dir, Path | None))
    with in_keywords(FederateJob, Settings):
        return look_at_partition(job, folder)


def look_at_partition(job: FederateJob, data_dir: Path) -> DealtSamples:
    """How a federation's samples are dealt; nothing is run.

    Raises:
        UsageError: the samples cannot be dealt so, or there is no such data set.
    """
    prepare_dataset(job.dataset, data_dir)
    samples = job_samples(load_arrays(job.dataset, data_dir), job.as_training)
    dealer = job_partition(job.as_training, samples.spec, lambda: samples)
    dealt = dealer.assignment(with_clients(job, dealer).roster)
    return look(dealt, train_labels(samples), samples.spec, partition=job.partition, seed=job.seed)


def _questions(job: TrainJob, settings: Settings) -> list[Question]:
    """What the planner is asked for a job, one question a runtime; nothing is started."""
    job, ask_for = asking(job, settings)
    return ask_for(job, _run(lambda: offered_capacity(settings)), settings)


def compile_ahead(job: TrainJob, settings: Settings) -> bool:
    """Compile the network of a job that is still to come, so that its run need not wait for that.

    Returns:
        Whether it was; not where the job would not take it: on a cluster, with a GPU, without the
        packages for it, or for numbers to predict.

    Raises:
        UsageError: the job cannot be done as asked.
        CompileFailed: the compiler refused the network.
    """
    if not chosen(settings).traits.host_packages:
        return False
    for asked in _questions(job, settings):
        if runtime_named(asked.shipped.name).compiles:
            wanted = compile_job(job, asked.dataset, asked.model, settings)
            compile_network(wanted, code_of(asked.model), asked.capacity)
            return True
    return False


def plan_costs(
    plan: Plan,
    settings: Settings | None = None,
    *,
    per_gb_s: float | None = None,
    per_invocation: float | None = None,
) -> tuple[Cost, ...]:
    """What a plan costs where the settings lead to, or at the prices given (US dollars).

    A platform that bills nobody is compared with the large providers. Of several endpoints each
    has its price in the plan.
    """
    if per_gb_s is None and per_invocation is None:
        if plan.endpoints:
            return ()
        return costs(plan, chosen(_settings(settings)).prices)
    return costs(plan, [price_given(per_gb_s=per_gb_s, per_invocation=per_invocation)])


def run_calibrate(
    settings: Settings, listener: Listener = silent, *, runtime: RuntimeName = DEFAULT.name
) -> Calibrated:
    """Measure what a runtime costs on this platform, for later plans.

    Raises:
        DisdelError: a run failed.
    """
    return _run(lambda: calibration.calibrate(runtime, settings, listener))


def _run(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, also where a loop is running already, as in a notebook.

    An interrupt, SIGTERM and SIGHUP cancel it, and end when it has removed what it had created.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with taken_as_interrupts():
            return asyncio.run(start())
    running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = Future()
    outcome: Future[T] = Future()
    # An interrupted `Thread.join` takes the thread for ended: https://bugs.python.org/issue46726.
    ended = threading.Event()

    async def body() -> None:
        task = asyncio.ensure_future(start())
        running.set_result((asyncio.get_running_loop(), task))
        await asyncio.wait([task])
        if task.cancelled():
            outcome.set_exception(KeyboardInterrupt())
        elif (error := task.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(task.result())

    def run() -> None:
        try:
            asyncio.run(body())
        finally:
            ended.set()

    try:
        threading.Thread(target=run, name="disdel").start()
        ended.wait()
    except KeyboardInterrupt:
        loop, task = running.result(_START_S)
        loop.call_soon_threadsafe(task.cancel)
        ended.wait()
        raise
    return outcome.result()
