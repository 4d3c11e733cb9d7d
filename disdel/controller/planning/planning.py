"""From a job to the questions that the planner is asked of it, one for each runtime.

They rest on what earlier trainings have told (`observing`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from disdel.compiler import known_program
from disdel.controller.planning.compiled import compile_job
from disdel.controller.planning.floors import shipped_costs
from disdel.controller.planning.history import history_of
from disdel.controller.planning.networks import Chosen
from disdel.controller.planning.processor import slowness
from disdel.controller.planning.strategy_checks import check_strategy
from disdel.errors import UsageError
from disdel.planner.memory import SUM_COPIES
from disdel.planner.precision import open_precisions, tried_precision
from disdel.planner.question import Federation, Question
from disdel.planner.timing import predicted_compile_s
from disdel.platforms.registry import chosen
from disdel.runtimes.registry import (
    DEFAULT,
    all_runtimes,
    check_runtime,
    runtime_named,
)
from disdel.runtimes.runtime import Runtime
from disdel.settings import Settings
from disdel.settings.settings import own_architecture
from disdel.strategies.asking import strategy_of
from disdel.strategies.base import Strategy
from disdel.strategies.own import own_code
from disdel.types import (
    Capacity,
    DatasetSpec,
    ModelSpec,
    Precision,
    RuntimeName,
    TrainJob,
)
from openwhisk_local.machine.cpus import has_bfloat16

# The shift, and the gradients that it is added to: measured, 1.4 to 2.0 with TensorFlow and 0.5 to
# 0.9 with PyTorch.
_TERM_COPIES = 2
# What its zip has no room for: `disdel.compiler.blas` and `packages`.
_PART_OF_NUMPY = (
    "--runtime {name} has a numpy without @, np.dot, np.linalg, np.ma, np.fft and np.median: code "
    "of yours that calls one in an action fails; --runtime tensorflow and torch have all of numpy"
)
# The state of a round, which a container of a federation holds beside what trains.
_ROUND_COPIES = 1


def ask(
    job: TrainJob,
    dataset: DatasetSpec,
    network: Chosen,
    capacity: Capacity,
    settings: Settings,
    *,
    counts: Callable[[int], tuple[int, ...]] | None = None,
    store_mb: int | None = None,
    spent_s: float = 0.0,
    tried_s: float = 0.0,
    compiling_took_s: float = 0.0,
    federation: Federation | None = None,
) -> list[Question]:
    """The questions that the planner is asked for a job: one for each runtime that it may take.

    Args:
        job: what the user asked for.
        dataset: what it trains on.
        network: its network, with what steps took on this machine if they were tried out.
        capacity: what the platform allows.
        settings: what the user allows, and where things are.
        counts: the training samples of each of so many clients; None deals equal numbers.
        store_mb: what Redis has room for.
        spent_s: what the command has taken already, compiling apart.
        tried_s: what of that went into trying out its network while containers got ready.
        compiling_took_s: what the run has spent on compiling its network already.
        federation: of a job that is one.

    Raises:
        UsageError: the runtime or the strategy asked for cannot be had.
    """
    strategy, model = strategy_of(job), network.model
    check_strategy(strategy, job, model)
    runs_code = own_code(strategy) is not None or (federation is not None and federation.loads)
    runtimes = _fitting_runtimes(job, model, capacity, settings, runs_code=runs_code)
    chosen_precisions = [
        _precision(runtime, job, model, capacity, settings, dataset) for runtime in runtimes
    ]
    slow, on_host = slowness(settings), chosen(settings).traits.host_packages
    questions = [
        Question(
            job=replace(job, precision=precision),
            dataset=dataset,
            model=model,
            shipped=shipped_costs(runtime, settings),
            capacity=capacity,
            limits=settings.limits,
            aims=settings.aims,
            observations=history_of(runtime, settings).read(),
            store_mb=store_mb,
            counts=counts,
            term_copies=(0 if strategy.terms() is None else _TERM_COPIES)
            + (0 if federation is None else _ROUND_COPIES + SUM_COPIES * federation.sum_count),
            federation=federation,
            scores_first=federation is None and scores_first(job, strategy),
            advances=strategy.advances,
            kept_copies=len(strategy.kept),
            own_copies=len(strategy.own),
            is_whole=strategy.is_whole if federation is None else strategy.sees_each,
            is_tried=job.precision is None and precision is not None,
            tries_precision=_tries(precision, settings),
            slowness=slow.steps * _share(runtime, precision, settings),
            pace=slow.rest,
            steps=network.steps if on_host else None,
            spent_s=spent_s,
            tried_s=tried_s,
            notes=_notes(runtime, settings, runs_code=runs_code),
        )
        for runtime, precision in zip(runtimes, chosen_precisions, strict=True)
    ]
    return [
        _of_compiled(asked, settings, compiling_took_s) if runtime.compiles else asked
        for runtime, asked in zip(runtimes, questions, strict=True)
    ]


def scores_first(job: TrainJob, strategy: Strategy) -> bool:
    """Whether workers score an average before they train on from it, in the same activation.

    Not where something hangs on the score: whether and with whom the run goes on, or what a
    strategy that looks at each update leaves out. What clients keep from round to round is saved
    when a round is scored, so they may not train on meanwhile.
    """
    return (
        not job.validation.decides
        and job.workers_policy == "fixed"
        and job.optimizer_state != "local"
        and not strategy.sees_each
        and not strategy.own
    )


def _precision(
    runtime: Runtime,
    job: TrainJob,
    model: ModelSpec,
    capacity: Capacity,
    settings: Settings,
    dataset: DatasetSpec,
) -> Precision | None:
    """What steps compute in on a runtime: as asked or tried before; None leaves it to a trial."""
    if job.precision is not None:
        return job.precision
    batch = min(job.batch_size, dataset.train_samples)
    gpu_mb = capacity.gpu_memory_mb or settings.limits.gpu_memory_mb
    able = open_precisions(model, batch, runtime.precisions, on_gpu=bool(gpu_mb))
    if len(able) == 1:
        return able[0]
    return tried_precision(history_of(runtime, settings).read(), model.label, batch)


def _tries(precision: Precision | None, settings: Settings) -> bool:
    """Whether a precision that is open will be tried; a cluster's processors nobody knows."""
    return precision is None and chosen(settings).traits.host_packages and has_bfloat16()


def _share(runtime: Runtime, precision: Precision | None, settings: Settings) -> float:
    """What a step takes of the time that ships, which is float32's, if it may be in bfloat16."""
    short = precision == "bfloat16" and chosen(settings).traits.host_packages and has_bfloat16()
    return runtime.costs.bfloat16_share if short or _tries(precision, settings) else 1.0


def _notes(runtime: Runtime, settings: Settings, *, runs_code: bool) -> tuple[str, ...]:
    """What was asked for that this runtime makes nothing of, or not all."""
    if runtime.compiles:
        return (_PART_OF_NUMPY.format(name=runtime.name),) if runs_code else ()
    if settings.arch == own_architecture():
        return ()
    return (f"--arch {settings.arch} counts for compiled networks, and {runtime.name} has none",)


def _of_compiled(asked: Question, settings: Settings, took_s: float) -> Question:
    """The question with what the compiler has said, or with the time that it will need."""
    wanted = compile_job(asked.job, asked.dataset, asked.model, settings)
    program = known_program(wanted)
    if program is not None:
        return replace(asked, calls=program.memory, steps=program.steps, compile_s=took_s)
    compile_s = predicted_compile_s(asked.facts.layers, targets=len(wanted.targets))
    # What was tried out is the framework's.
    return replace(asked, steps=None, compile_s=compile_s)


def _fitting_runtimes(
    job: TrainJob, model: ModelSpec, capacity: Capacity, settings: Settings, *, runs_code: bool
) -> list[Runtime]:
    """The runtimes that a job may take: the one that it names, or those that suit it.

    One that compiles suits no job whose strategy or whose clients' samples are code of the user's
    own (`runs_code`), which may call what its numpy lacks.

    Networks of the user's own are trained where they are at home, unless another runtime is named
    that lowers them.

    Raises:
        UsageError: the job names a runtime that does not exist, or does not train such a network.
    """
    check_runtime(job.runtime, job.precision)
    home = None if model.home is None else runtime_named(model.home)
    if job.runtime is not None:
        [named] = offered_runtimes(job.runtime, settings)
        if home is not None and not named.trains(home.name):
            kind = "network" if home.users is None else home.users.kind
            raise UsageError(
                f"{model.name} returns a {kind}, which --runtime {home.name} (or auto) trains, and "
                f"{named.name} does not"
            )
        if model.target.shape and not named.learns_axes:
            able = " or ".join(one.name for one in all_runtimes() if one.learns_axes)
            raise UsageError(
                f"--runtime {named.name} learns one class or one number a sample, and this data "
                f"set has {'×'.join(map(str, model.target.shape))} of them: take --runtime {able}"
            )
        return [named]
    if home is not None:
        return offered_runtimes(home.name, settings)
    suitable = [
        runtime
        for runtime in offered_runtimes(None, settings)
        if job.precision in (None, *runtime.precisions)
        and model.learns in runtime.chosen_for
        and (runtime.learns_axes or not model.target.shape)
        and not (runtime.compiles and runs_code)
        # It would stay idle.
        and (runtime.costs.uses_gpu or not capacity.gpu_memory_mb)
    ]
    return suitable or offered_runtimes(DEFAULT.name, settings)


def offered_runtimes(asked: RuntimeName | None, settings: Settings) -> list[Runtime]:
    """The runtime asked for, or those that the platform's containers have.

    A platform does not tell which images it has; there `auto` means the default one. Where actions
    have this machine's packages it is what is installed, the compiler included. Where there are no
    images it is what needs none.

    Raises:
        UsageError: there is no runtime of that name, or it needs an image where there are none.
    """
    provider = chosen(settings)
    without_image = [runtime for runtime in all_runtimes() if not runtime.image]
    if asked is not None:
        named = runtime_named(asked)
        if named.image and not provider.traits.runs_images:
            able = " or ".join(runtime.name for runtime in without_image)
            images_by = provider.traits.images_by
            raise UsageError(
                f"--runtime {named.name} needs an image, and platform {provider.name} runs none "
                f"for disdel: take --runtime {able}"
                + (f", or say where its images are with {images_by}" if images_by else "")
            )
        return [named]
    if not provider.traits.runs_images:
        return without_image
    if not provider.traits.host_packages:
        return [DEFAULT]
    return [runtime for runtime in all_runtimes() if runtime.is_installed()] or [DEFAULT]
