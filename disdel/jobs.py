"""Jobs of any kind, done: what the command line and the Python API have in common."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import TypeVar

from disdel.controller.federating import federate as federate_run
from disdel.controller.inference import infer as infer_run
from disdel.controller.inference.infer import Inferred
from disdel.controller.planning.checks import Check
from disdel.controller.planning.compiled import compile_job, compile_network
from disdel.controller.planning.compiler_ahead import remember_compiled
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
from disdel.controller.training.splits import job_partition, job_samples, train_labels, with_clients
from disdel.data import load_arrays, prepare_dataset
from disdel.data.partitioners.looking import look
from disdel.errors import UsageError
from disdel.flower import run as flower_run
from disdel.host.running import run_to_end
from disdel.planner.plan import make_plan
from disdel.planner.question import Question
from disdel.platforms.base import Provider
from disdel.platforms.prices import costs, price_given
from disdel.platforms.registry import chosen
from disdel.runtimes.registry import DEFAULT, runtime_named
from disdel.settings import Settings, resolve
from disdel.settings.read_options import TableOptions
from disdel.strategies.asking import strategy_of, with_whole_strategy
from disdel.types import (
    Cost,
    FederateJob,
    InferJob,
    LearningJob,
    Plan,
    RunReport,
    RuntimeName,
    TrainJob,
)
from disdel.types.dealt import DealtSamples
from disdel.types.events import Event, Listener, Noted, PlanMade, RunEnded, silent
from disdel.types.flower import FlowerJob

Job = TypeVar("Job", bound=LearningJob)


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
    return run_to_end(
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
    provider: Provider | None = None,
) -> tuple[RunReport, RunFolder]:
    """Run a federation, or the rest of one; its arguments are as `run_train` has them.

    Raises:
        UsageError, DisdelError: as `federate` does.
    """
    return run_to_end(
        lambda: federate_run.federate(
            job, settings, _with_page(listener), resumed=resumed, provider=provider
        )
    )


def deploy_endpoints(settings: Settings) -> list[Check]:
    """Make what runs have to find at each endpoint; of each by its name what was made, or lacks.

    Raises:
        UsageError: the settings name no endpoints.
    """
    return run_to_end(partial(deploy_at_endpoints, settings))


def clear_endpoints(settings: Settings) -> list[Cleared]:
    """Remove what dead runs in `run_dir` have left at the endpoints; says of each what was done.

    Raises:
        UsageError: the settings name no endpoints.
    """
    return run_to_end(lambda: clear_runs(run_folders(settings.run_dir), settings))


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
    return run_to_end(lambda: flower_run.flower(job, settings, _with_page(listener), output=output))


def find_resumed(run: str, run_dir: Path) -> Resumed:
    """The run in `run_dir` that is to be taken up, by its id or enough of it.

    Raises:
        UsageError: there is no such run, or it cannot be resumed.
    """
    return read_resumed(find_run(run_dir, run))


def as_runs_have_it(job: Job) -> Job:
    """A job as a run keeps it: its strategy is said with all of its parameters, by one word.

    Raises:
        UsageError: there is no such strategy.
    """
    return with_whole_strategy(job)


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
    return run_to_end(lambda: stop_run(folder, settings, forget=forget))


def run_infer(
    job: InferJob,
    settings: Settings,
    listener: Listener = silent,
    *,
    table: TableOptions | None = None,
    provider: Provider | None = None,
) -> Inferred:
    """Evaluate a model, or predict samples.

    Args:
        job: of which model, and what.
        settings: where.
        listener: called with every event of the run.
        table: how a table of samples is read.
        provider: of the platform, where something of that has begun already.

    Raises:
        UsageError: no such model, data set or input.
        DisdelError: the run failed.
    """
    return run_to_end(
        lambda: infer_run.infer(job, settings, _with_page(listener), table=table, provider=provider)
    )


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
        if isinstance(event, PlanMade):
            # While containers start: at the end the user waits for it.
            threading.Thread(target=_read_template, name="page", daemon=True).start()
        if isinstance(event, RunEnded):
            from disdel.report import html_report

            try:
                html_report.write_page(event.report, Path(event.folder) / html_report.PAGE_NAME)
            except UsageError as error:
                listener(Noted(message=f"the run has no page: {error}"))
        listener(event)

    return listen


def _read_template() -> None:
    from disdel.report import html_report

    html_report.template()


def run_plan(job: TrainJob, settings: Settings) -> PlanMade:
    """The plan of a job; nothing is started.

    Raises:
        UsageError: the job cannot be done as asked.
    """
    strategy = strategy_of(job)
    check_waits(strategy)
    made_of = run_to_end(partial(chosen(settings).endpoints, settings))
    if made_of is None:
        asked, plan = make_plan(_questions(job, settings))
    else:
        asked, plan = plan_at(made_of, job, settings)
    check_count(strategy, len(plan.client_samples), job.fan_in)
    return PlanMade(run="", job=job, dataset=asked.dataset, model=asked.model.name, plan=plan)


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
    return ask_for(job, run_to_end(lambda: offered_capacity(settings)), settings)


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
            remember_compiled(job, settings)
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
        return costs(plan, chosen(settings or resolve(Settings, {})).prices)
    return costs(plan, [price_given(per_gb_s=per_gb_s, per_invocation=per_invocation)])


def run_calibrate(
    settings: Settings, listener: Listener = silent, *, runtime: RuntimeName = DEFAULT.name
) -> Calibrated:
    """Measure what a runtime costs on this platform, for later plans.

    Raises:
        DisdelError: a run failed.
    """
    return run_to_end(lambda: calibration.calibrate(runtime, settings, listener))
