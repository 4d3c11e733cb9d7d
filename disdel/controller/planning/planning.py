"""From runs to observations, and from observations to plans.

Every training tells what its containers took, and the next plan rests on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from disdel.compiler import call_memory
from disdel.controller.planning.compiled import compile_job
from disdel.controller.planning.floors import shipped_costs
from disdel.controller.planning.history import History, history_of
from disdel.controller.planning.processor import slowness
from disdel.controller.planning.strategy_checks import check_strategy
from disdel.errors import UsageError
from disdel.planner.candidates import scored_share
from disdel.planner.gpu import HOST_MB
from disdel.planner.memory import SUM_COPIES, Work, train_parts
from disdel.planner.observations import Container, Observation, containers
from disdel.planner.precision import open_precisions, tried_precision
from disdel.planner.question import Federation, Question
from disdel.planner.timing import predicted_compile_s, step_s
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
    Activation,
    Capacity,
    DatasetSpec,
    ModelSpec,
    Plan,
    Precision,
    RuntimeName,
    TrainJob,
)
from disdel.types.events import Listener, Noted
from disdel.types.timeline import split_time
from disdel.types.units import MIB
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
# Steps of clients whose batches differ by no more take about as long.
_LIKE = 1.25


def ask(
    job: TrainJob,
    dataset: DatasetSpec,
    model: ModelSpec,
    capacity: Capacity,
    settings: Settings,
    *,
    counts: Callable[[int], tuple[int, ...]] | None = None,
    store_mb: int | None = None,
    tried_s: float = 0.0,
    compiling_took_s: float = 0.0,
    federation: Federation | None = None,
) -> list[Question]:
    """The questions that the planner is asked for a job: one for each runtime that it may take.

    Args:
        job: what the user asked for.
        dataset: what it trains on.
        model: its network.
        capacity: what the platform allows.
        settings: what the user allows, and where things are.
        counts: the training samples of each of so many clients; None deals equal numbers.
        store_mb: what Redis has room for.
        tried_s: what the run has spent on trying out its network already.
        compiling_took_s: what the run has spent on compiling its network already.
        federation: of a job that is one.

    Raises:
        UsageError: the runtime or the strategy asked for cannot be had.
    """
    strategy = strategy_of(job)
    check_strategy(strategy, job, model)
    runs_code = own_code(strategy) is not None or (federation is not None and federation.loads)
    runtimes = _fitting_runtimes(job, model, capacity, settings, runs_code=runs_code)
    chosen_precisions = [
        _precision(runtime, job, model, capacity, settings, dataset) for runtime in runtimes
    ]
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
            slowness=_slowness(runtime, precision, settings),
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


def _slowness(runtime: Runtime, precision: Precision | None, settings: Settings) -> float:
    """How many times as long a step is taken to take as shipped, before any was measured."""
    may_be_short = precision is None and chosen(settings).traits.host_packages and has_bfloat16()
    return slowness(settings) * (runtime.costs.bfloat16_share if may_be_short else 1.0)


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
    calls = call_memory(wanted)
    if calls is not None:
        return replace(asked, calls=calls, compile_s=took_s)
    targets = len(wanted.targets)
    return replace(asked, compile_s=predicted_compile_s(asked.facts.layers, targets=targets))


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


def observe(
    question: Question, plan: Plan, activations: Sequence[Activation], wall_s: float | None
) -> list[Observation]:
    """What the train containers of a run took, one observation each.

    Args:
        question: that was planned for.
        plan: of the run.
        activations: of the run.
        wall_s: that it took; None of a run that failed.
    """
    observed = []
    precision = question.job.precision or precision_of(activations) or "float32"
    seen = containers(activations, block_steps=plan.block_steps)
    outside_s, rest_s = _run_times(question, plan, activations, seen, wall_s)
    for container in seen:
        size = plan.size_of(container.worker)
        # One that was planned to stand by has had any of them.
        theirs = plan.turns[container.worker] or range(len(plan.client_samples))
        shard_samples = max(plan.client_samples[client] for client in theirs)
        work = Work(
            dataset=question.dataset,
            model=question.facts,
            label=question.model.label,
            shard_samples=shard_samples,
            test_samples=plan.test_slices[container.worker].samples,
            validation_samples=(
                plan.validation_slices[container.worker].samples if plan.validation_slices else 0
            ),
            batch_size=question.batch_of(shard_samples),
            epochs=question.job.epochs,
            micro_batches=plan.micro_batches if size is None else size.micro_batches,
            precision=precision,
            held=question.shipped.held,
            term_copies=question.term_copies,
            calls=question.calls,
        )
        observed.append(
            Observation(
                model=work.label,
                batch_size=work.batch_size,
                shard_samples=work.shard_samples,
                threads=plan.threads,
                predicted_mb=train_parts(work).total / MIB + (HOST_MB if plan.gpu_memory_mb else 0),
                working_set_mb=container.working_set_mb,
                framework_anonymous_mb=container.framework_anonymous_mb,
                framework_mapped_mb=container.framework_mapped_mb,
                cold_start_s=container.cold_start_s,
                step_s=container.step_s if _has_like_steps(question, plan) else None,
                trace_s=container.trace_s,
                shipped_step_s=step_s(
                    question.shipped,
                    question.facts,
                    work.batch_size,
                    plan.threads or 1,
                    work.micro_batches,
                ),
                precision=precision,
                tried=question.job.precision is None or question.is_tried,
                workers=plan.workers,
                scored_rounds=scored_share(plan.rounds, plan.score_every),
                outside_s=outside_s,
                rest_s=rest_s,
            )
        )
    return observed


def _has_like_steps(question: Question, plan: Plan) -> bool:
    """Whether the mean of a container's steps tells what one of them takes."""
    if question.federation is None or not question.shipped.cuts_batches:
        return True
    batches = [one.batch for one in question.work(plan.client_samples)]
    return max(batches) <= _LIKE * min(batches)


def _run_times(
    question: Question,
    plan: Plan,
    activations: Sequence[Activation],
    seen: Sequence[Container],
    wall_s: float | None,
) -> tuple[float | None, float | None]:
    """Seconds outside of rounds, and of a round beside training; of whole runs that lost none.

    So the plan of a like run, which adds the steps of its busiest worker, comes to what this took.
    Where the network was compiled first, a run that need not takes less outside of its rounds.
    """
    began = {a.round for a in activations if a.task == "train" and a.outcome == "ok"}
    whole = began == set(range(1, plan.rounds + 1)) and all(a.outcome == "ok" for a in activations)
    if question.federation is not None and question.federation.scores is not None:
        # What clients score is no part of what such a round takes without.
        whole = False
    split = None if wall_s is None or not whole else split_time(activations, wall_s)
    if split is None or wall_s is None:
        return None, None
    traced_s = max((one.trace_s or 0.0 for one in seen), default=0.0)
    steps_s = [
        one.step_s * sum(a.steps for a in activations if a.worker == one.worker)
        for one in seen
        if one.step_s is not None
    ]
    outside_s = split.start_s - question.tried_s + traced_s + split.end_s
    inside_s = wall_s - question.tried_s - outside_s
    rest_s = inside_s - max(steps_s, default=split.training_s - traced_s)
    return (
        None if question.compile_s else max(0.0, outside_s),
        max(0.0, rest_s / plan.rounds),
    )


def precision_of(activations: Sequence[Activation]) -> Precision | None:
    """What the steps of a run computed in; None before the first have ended."""
    return next((a.precision for a in activations if a.precision is not None), None)


def remaining_s(activations: Sequence[Activation], *, done: int, rounds: int) -> float:
    """The time of the rounds that are left, by the activations of round `done` without starts."""
    trained: dict[int | None, float] = {}
    slowest_s = {"score": 0.0, "collect": 0.0}
    for activation in activations:
        if activation.round != done:
            continue
        if activation.train_s is not None:
            before_s = trained.get(activation.worker, 0.0)
            trained[activation.worker] = before_s + activation.train_s
        elif activation.task in slowest_s:
            ran_s = (activation.duration_ms - activation.init_ms) / 1000
            slowest_s[activation.task] = max(slowest_s[activation.task], ran_s)
    return (rounds - done) * (max(trained.values(), default=0.0) + sum(slowest_s.values()))


def remember(history: History, observations: Sequence[Observation], emit: Listener) -> None:
    """Add to the history; a run is not lost over a state directory that cannot be written."""
    try:
        history.append(observations)
    except OSError as error:
        emit(Noted(message=f"what was measured is not kept for later plans: {error}"))
