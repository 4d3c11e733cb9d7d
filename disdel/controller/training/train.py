"""A train run from its job to its report: plan, compile, open a folder, run, remember."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from disdel.compiler.packages import kind_of, stock_python
from disdel.controller.invoking.bundle import build_bundle, check_code
from disdel.controller.invoking.invoker import Invoker
from disdel.controller.lifecycle import run_to_report
from disdel.controller.opening import Opening
from disdel.controller.planning.carried import check_carried
from disdel.controller.planning.compiled import CompiledNetwork, compile_job, compile_network
from disdel.controller.planning.compiler_ahead import remember_compiled
from disdel.controller.planning.endpoint_plans import (
    AtEndpoint,
    check_endpoints,
    for_all,
    plan_endpoints,
)
from disdel.controller.planning.history import history_of
from disdel.controller.planning.networks import choose_network, code_of, likely_image
from disdel.controller.planning.nodes import with_nodes
from disdel.controller.planning.observing import Lessons
from disdel.controller.planning.planning import ask
from disdel.controller.planning.strategy_checks import check_count, check_strategy
from disdel.controller.planning.trusted_code import vouch_for
from disdel.controller.runs.lease import Lease, claimed
from disdel.controller.runs.progress import Progress
from disdel.controller.runs.run_folder import RunFolder, check_run_dir, create_run_folder
from disdel.controller.session import open_session, warn_of_store
from disdel.controller.training.crew import Crew
from disdel.controller.training.kinds import TRAINING, RunKind
from disdel.controller.training.resuming import Resumed, changed_files, keep_strategy, take_up
from disdel.controller.training.splits import job_partition, job_samples
from disdel.controller.training.stopping import reason_to_stop
from disdel.data import DatasetArrays, load_arrays, prepare_dataset
from disdel.errors import DisdelError, UsageError
from disdel.host.command import began_s
from disdel.host.helper import in_thread
from disdel.planner.client_sizes import plan_by_sizes
from disdel.planner.memory import FLOAT_BYTES, sample_bytes
from disdel.planner.question import Question
from disdel.platforms.base import ActionSpec, Provider
from disdel.platforms.registry import chosen
from disdel.protocol.keys import RunKeys
from disdel.runtimes.registry import BASE_IMAGE, check_runtime, runtime_named
from disdel.runtimes.registry import files_of as runtime_files
from disdel.settings import Settings
from disdel.strategies.asking import files_of, strategy_of, with_whole_strategy
from disdel.strategies.own import own_code
from disdel.types import Capacity, DatasetSpec, ModelSpec, Plan, RunReport, TrainJob
from disdel.types.events import Listener, Noted, PlanMade, PlatformReady
from disdel.user_code.collecting import UserCode


async def train(
    job: TrainJob,
    settings: Settings,
    emit: Listener,
    *,
    resumed: Resumed | None = None,
    provider: Provider | None = None,
) -> tuple[RunReport, RunFolder]:
    """Run a train job to its end; the report is saved in the run's folder, also of a failed run.

    With `resumed`, the run is taken up after its last complete round; `provider` is of the
    platform, where something of that has begun already.

    Raises:
        UsageError: the job cannot be done as asked; nothing was run and nothing is left.
        DisdelError: the run failed.
    """
    whole = with_whole_strategy(job)
    return await learn(whole, settings, emit, resumed=resumed, provider=provider)


async def learn(
    job: TrainJob,
    settings: Settings,
    emit: Listener,
    *,
    resumed: Resumed | None = None,
    kind: RunKind = TRAINING,
    provider: Provider | None = None,
) -> tuple[RunReport, RunFolder]:
    """`train`, or what another kind of run makes of a job."""
    started_s = began_s()
    check_runtime(job.runtime, job.precision)
    with contextlib.nullcontext() if resumed is None else resumed.claimed() as lease:
        arrays = await in_thread(_load, job.dataset, settings.data_dir)
        return await train_on(
            *(arrays, job, settings, emit),
            started_s=started_s,
            resumed=resumed,
            lease=lease,
            kind=kind,
            provider=provider,
        )


async def train_on(
    arrays: DatasetArrays,
    job: TrainJob,
    settings: Settings,
    emit: Listener,
    *,
    started_s: float,
    resumed: Resumed | None = None,
    lease: Lease | None = None,
    kind: RunKind = TRAINING,
    provider: Provider | None = None,
) -> tuple[RunReport, RunFolder]:
    """`train` on samples that are at hand, in a run that began at `started_s`.

    A run that is `resumed` comes with its lease. Raises as `train` does.
    """
    strategy = strategy_of(job)
    kind.check_strategy(strategy)
    samples = await in_thread(job_samples, arrays, job)
    dataset = samples.spec
    partition = job_partition(job, dataset, lambda: samples)
    job = kind.dealt(job, partition)
    async with AsyncExitStack() as stack:
        lessons = Lessons(started_s)
        stack.callback(lessons.tell)
        opening = await stack.enter_async_context(
            Opening(lambda: open_session(settings, emit, provider=provider))
        )
        looked_s = time.monotonic()
        # While a network of the user's own is tried out, the platform starts.
        begin = partial(_begin, opening, job, settings)
        network = await in_thread(choose_network, job, dataset, lambda: arrays, begin)
        model = network.model
        tried_s = time.monotonic() - looked_s if opening.is_begun else 0.0
        job = kind.settled(job, model)
        check_strategy(strategy, job, model)
        counts, federation = await in_thread(kind.planned, partition)
        ends = None
        if resumed is not None:
            done = [entry.report for entry in resumed.progress.rounds]
            ends = reason_to_stop(job.validation, done) or await in_thread(kind.why_spent, done)
            if ends is not None:
                resumed.check_lacks_model(ends)
                emit(Noted(message=f"there is no further round: {ends}", matters=True))
        if ends is None:
            behind = 0 if resumed is None else resumed.progress.done
            if (told := await in_thread(kind.foreseen, behind)) is not None:
                emit(Noted(message=told, matters=True))
        if model.learns == "number" and job.validation.target_accuracy is not None:
            raise UsageError(
                f"--target-accuracy needs classes, and {dataset.name} has numbers to predict: stop "
                "early with --patience"
            )
        if dataset.kind == "tokens" and not model.takes_integers:
            emit(Noted(message=f"{model.name} takes the samples' integers as numbers, in float32"))
        if resumed is None:
            check_run_dir(settings.run_dir)
        code = code_of(model)
        for sentence in () if code is None else code.left_out:
            emit(Noted(message=sentence))
        opening.begin()
        # An image that was asked for, it expects already.
        if provider is not None and (job.runtime is None or not runtime_named(job.runtime).image):
            ask_for = partial(ask, job, dataset, network, counts=counts, federation=federation)
            await in_thread(_expect, provider, ask_for, settings)
        opened = await opening.session()
        emit(PlatformReady(description=opened.description))
        session = await with_nodes(opened, settings, emit)
        made_of, settings = session.endpoints, for_all(session.endpoints, settings)
        where = {} if made_of is None else {one.name: one.settings for one in made_of.all}
        kind.check_places(made_of)
        parts = None
        if made_of is not None:
            check_endpoints(job, made_of)
            parts = kind.parts(made_of, job)

        compiled, compiling_took_s = None, 0.0

        def planned(job: TrainJob, at: AtEndpoint | None = None) -> tuple[Question, Plan]:
            part, place, of_clients = dataset, (session.capacity, settings), counts
            if at is not None:
                part, of_clients = at.part_of(dataset), at.counts or counts
                place = (at.endpoint.capacity, at.endpoint.settings)
            return plan_by_sizes(
                ask(
                    *(job, part, network, *place),
                    counts=of_clients,
                    federation=federation,
                    store_mb=session.examination.room_mb,
                    spent_s=time.monotonic() - started_s - compiling_took_s,
                    tried_s=tried_s,
                    compiling_took_s=compiling_took_s,
                )
            )

        question, plan = planned(job)
        session.platform.expect(_containers_of(plan, settings, session.capacity))
        if runtime_named(plan.runtime).compiles:
            compiles_s = time.monotonic()
            compiled = await _compiled(job, dataset, model, code, settings, session.capacity)
            if question.calls is None:
                compiling_took_s = time.monotonic() - compiles_s
                # Now the compiler has said how much memory a step takes.
                question, plan = planned(job)
                if not runtime_named(plan.runtime).compiles:
                    compiled = None
        questions: dict[str, Question] = {}
        if made_of is not None and parts is not None:
            question, plan, questions = plan_endpoints(
                replace(job, runtime=plan.runtime),
                made_of,
                parts,
                one=planned,
                together=planned,
            )
        check_count(strategy, len(plan.client_samples), job.fan_in)
        # Of a federation's clients a round asks some.
        sent = 0 if kind.federation is not None else max(plan.client_samples)
        weights = FLOAT_BYTES * (model.facts.parameters + model.facts.constants)
        check_carried(session, sent * sample_bytes(dataset) + weights)
        warn_of_store(session, plan.store_mb, emit)
        # Else what they compute is in the library.
        files = files_of(strategy) if strategy.acts else {}
        files |= runtime_files(runtime_named(plan.runtime))
        files |= kind.files()
        action = cache(
            partial(
                _action, plan=plan, settings=settings, code=code, compiled=compiled, files=files
            )
        )
        check_code("the action", action("train", plan.memory_mb).code, session.capacity)
        progress = Progress(
            job=replace(
                job,
                workers=plan.workers,
                runtime=plan.runtime,
                fan_in=plan.fan_in,
                precision=plan.precision,
            ),
            dataset=(
                dataset.version,
                dataset.train_samples,
                dataset.validation_samples,
                dataset.test_samples,
            ),
            dataset_digest=arrays.digest,
            dealt_digest=kind.assignment(partition, len(plan.client_samples)).digest,
            file_digests=kind.file_digests(),
            planned_rounds=plan.rounds,
            federation=kind.federation,
        )
        if resumed is None or lease is None:
            folder = create_run_folder(settings.run_dir, kind.command, job.dataset)
            lease = stack.enter_context(claimed(folder.path))
        else:
            for sentence in changed_files(resumed, progress):
                emit(Noted(message=sentence, matters=True))
            progress, folder = take_up(resumed, progress, plan), resumed.folder
            # Of the time between the last complete round and now, nobody speaks.
            started_s -= progress.spent_s
        emit(
            PlanMade(
                run=folder.run,
                job=job,
                dataset=dataset,
                model=model.name,
                plan=plan,
                federation=kind.federation,
            )
        )
        keys = RunKeys.of_turn(folder.run, lease.holder.token)
        invoker = Invoker(session, f"disdel-{folder.run}", keys, folder, emit, started_s)
        if (own := own_code(strategy)) is not None:
            keep_strategy(folder, own)
        if code is not None:
            # Compiled, it needs no framework where it trains.
            version = None if compiled else runtime_named(plan.runtime).version_here()
            invoker.framework = {} if version is None else {plan.runtime: version}
            code.write(folder.code)
            if (untold := vouch_for(code)) is not None:
                emit(Noted(message=untold))
        crew = Crew(plan, lambda n: planned(replace(progress.job, workers=n))[1], partition)
        run = kind.run(
            progress, model, compiled, action, crew, samples, settings, invoker, lease, emit
        )
        # It has their code now.
        action.cache_clear()
        try:
            report = await run_to_report(
                invoker,
                run.execute,
                lambda: run.report(time.monotonic() - started_s),
                lease=lease,
                keep=settings.keep,
            )
            lessons.is_done = True
        finally:
            # A container that has had several shards tells nothing of any, nor one whose samples
            # were not those that were planned for.
            if kind.knows_samples and not crew.has_changed:
                runtime = runtime_named(plan.runtime)
                if made_of is None:
                    history = history_of(runtime, settings)
                    lessons.keep(history, question, plan, run.own_activations, emit)
                for name, asked in questions.items():
                    ended = [a for a in run.own_activations if a.endpoint == name]
                    lessons.keep(history_of(runtime, where[name]), asked, plan, ended, emit)
    return report, folder


def _begin(opening: Opening, job: TrainJob, settings: Settings, code: UserCode) -> None:
    opening.begin(likely_image(job, code, settings))


def _expect(
    provider: Provider, ask_for: Callable[[Capacity, Settings], list[Question]], settings: Settings
) -> None:
    """Have a platform that is still starting ready for what the plan will most probably take."""
    capacity = provider.foreseen(settings)
    if capacity is None:
        return
    # What is wrong with the job is told where it is planned with what the platform says.
    with contextlib.suppress(DisdelError):
        _, plan = plan_by_sizes(ask_for(capacity, settings))
        provider.expect(_containers_of(plan, settings, capacity))


def _containers_of(plan: Plan, settings: Settings, capacity: Capacity) -> str:
    """The image, or the platform's own kind, that a plan's containers will be of.

    Raises:
        UsageError: the platform has no kind that they could be of.
    """
    image = runtime_named(plan.runtime).image
    return settings.image(image) if image else kind_of(stock_python(capacity.kinds))


async def _compiled(
    job: TrainJob,
    dataset: DatasetSpec,
    model: ModelSpec,
    code: UserCode | None,
    settings: Settings,
    capacity: Capacity,
) -> CompiledNetwork:
    wanted = compile_job(job, dataset, model, settings)
    has_packages = chosen(settings).traits.has_packages
    compiled = await in_thread(compile_network, wanted, code, capacity, has_packages=has_packages)
    remember_compiled(job, settings)
    return compiled


def _load(name: str, data_dir: Path) -> DatasetArrays:
    prepare_dataset(name, data_dir)
    return load_arrays(name, data_dir)


def _action(
    name: str,
    memory_mb: int,
    *,
    plan: Plan,
    settings: Settings,
    code: UserCode | None,
    compiled: CompiledNetwork | None,
    files: Mapping[str, bytes],
) -> ActionSpec:
    if compiled is not None:
        return compiled.action(name, memory_mb=memory_mb, timeout_s=plan.timeout_s, files=files)
    trains = name == "train"
    return ActionSpec(
        name=name,
        image=settings.image(runtime_named(plan.runtime).image if trains else BASE_IMAGE),
        code=build_bundle(name, code if trains else None, files=files),
        memory_mb=memory_mb,
        timeout_s=plan.timeout_s,
    )
