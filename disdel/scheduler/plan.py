"""How many workers, how much memory each, how the work is cut, and why.

Pure: the same job, data set, model, capacity and limits give the same plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from disdel.errors import InsufficientMemory, PlanError
from disdel.scheduler.memory import estimate_collect, estimate_train
from disdel.scheduler.partition import partition
from disdel.scheduler.runtimes import Runtime
from disdel.types import Capacity, DatasetSpec, Estimate, Limits, ModelFacts, Plan, Shard, TrainJob

# Memory limits are multiples of this: finer steps would tell two equal actions apart.
MEMORY_STEP_MB = 32

# Where the platform does not tell its size, as many containers as the thesis used for its sets.
_WORKERS_ON_UNKNOWN_PLATFORM = 4

# Time of a round that is neither training nor scoring: weights down and up, averaging, invocations.
_ROUND_OVERHEAD_S = 0.1
_TIMEOUT_FLOOR_S = 60.0
_TIMEOUT_FACTOR = 4.0


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The platform's and the user's limits together."""

    memory_mb: int
    pool_mb: float
    timeout_s: float
    workers: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    workers: int
    threads: int | None
    shards: tuple[Shard, ...]
    test_shards: tuple[Shard, ...]
    estimate: Estimate
    memory_mb: int
    collect_memory_mb: int
    round_s: float
    total_s: float

    @property
    def pool_mb(self) -> int:
        return self.workers * self.memory_mb + self.collect_memory_mb


def make_plan(
    job: TrainJob,
    dataset: DatasetSpec,
    model: ModelFacts,
    runtime: Runtime,
    capacity: Capacity,
    limits: Limits,
) -> Plan:
    """The plan with the least predicted time that fits every limit.

    Raises:
        PlanError: more workers than batches of samples, or than the platform runs at once.
        InsufficientMemory: no number of workers fits the memory of an action or of the pool.
    """
    bounds = _bounds(capacity, limits)
    counts = _worker_counts(job, dataset, capacity, bounds)
    candidates = [_candidate(n, job, dataset, model, runtime, capacity) for n in counts]
    fitting = [c for c in candidates if c.memory_mb <= bounds.memory_mb]
    if not fitting:
        raise _too_large(min(candidates, key=lambda c: c.memory_mb), bounds, limits, job)
    pooled = [c for c in fitting if c.pool_mb <= bounds.pool_mb]
    if not pooled:
        raise _pool_too_small(min(fitting, key=lambda c: c.pool_mb), bounds, limits)
    best = min(pooled, key=lambda c: (c.total_s, c.workers))
    return Plan(
        workers=best.workers,
        memory_mb=best.memory_mb,
        collect_memory_mb=best.collect_memory_mb,
        memory_max_mb=bounds.memory_mb,
        pool_mb=None if math.isinf(bounds.pool_mb) else int(bounds.pool_mb),
        timeout_s=_timeout(best, bounds),
        rounds=count_rounds(job, best.shards),
        threads=best.threads,
        shards=best.shards,
        test_shards=best.test_shards,
        estimate=best.estimate,
        predicted_s=round(best.total_s, 1),
        gb_s=round(best.pool_mb / 1024 * best.total_s, 1),
        reasons=tuple(_reasons(best, candidates, bounds, job, capacity)),
    )


def count_rounds(job: TrainJob, shards: tuple[Shard, ...]) -> int:
    """How many times the workers' weights are averaged."""
    if job.sync == "once":
        return 1
    if job.sync == "epoch":
        return job.epochs
    longest = max(shard.samples for shard in shards)
    return math.ceil(job.epochs * math.ceil(longest / job.batch_size) / job.sync)


def round_up_memory(needed_mb: float, minimum_mb: int) -> int:
    """The memory limit that holds `needed_mb`."""
    return max(minimum_mb, math.ceil(needed_mb / MEMORY_STEP_MB) * MEMORY_STEP_MB)


def _bounds(capacity: Capacity, limits: Limits) -> _Bounds:
    pool = limits.pool_memory_mb or capacity.pool_memory_mb or math.inf
    return _Bounds(
        memory_mb=min(capacity.memory_max_mb, limits.memory_max_mb or capacity.memory_max_mb),
        pool_mb=min(pool, capacity.pool_memory_mb or math.inf),
        timeout_s=min(capacity.timeout_max_s, limits.timeout_max_s or capacity.timeout_max_s),
        workers=capacity.concurrency,
    )


def _worker_counts(
    job: TrainJob, dataset: DatasetSpec, capacity: Capacity, bounds: _Bounds
) -> range:
    """The numbers of workers to consider."""
    if job.workers is not None:
        if job.workers > dataset.train_samples:
            raise PlanError(
                f"--workers {job.workers} is more than the {dataset.train_samples} training "
                f"samples of {dataset.name}: every worker needs at least one"
            )
        if job.workers > bounds.workers:
            raise PlanError(
                f"--workers {job.workers} is more than the {bounds.workers} activations that the "
                "platform runs at once"
            )
        return range(job.workers, job.workers + 1)
    # More workers than cores would only take turns.
    most = capacity.cpus or _WORKERS_ON_UNKNOWN_PLATFORM
    batches = math.ceil(dataset.train_samples / job.batch_size)
    return range(1, max(1, min(most, batches, bounds.workers)) + 1)


def _candidate(
    workers: int,
    job: TrainJob,
    dataset: DatasetSpec,
    model: ModelFacts,
    runtime: Runtime,
    capacity: Capacity,
) -> _Candidate:
    shards = partition(dataset.train_samples, workers)
    test_shards = partition(dataset.test_samples, workers)
    estimate = estimate_train(
        runtime,
        dataset,
        model,
        shard_samples=shards[0].samples,
        test_samples=test_shards[0].samples,
        batch_size=job.batch_size,
    )
    threads = None if capacity.cpus is None else max(1, capacity.cpus // workers)
    sharing = 1.0 if capacity.cpus is None else max(1.0, workers / capacity.cpus)
    steps = job.epochs * math.ceil(shards[0].samples / job.batch_size)
    step_s = _step_s(runtime, model, job.batch_size, threads or 1) * sharing
    rounds = count_rounds(job, shards)
    # A step is one forward pass and a backward one of twice its cost; scoring is forward alone.
    score_s = test_shards[0].samples / job.batch_size * step_s / 3
    total_s = (
        runtime.cold_start_s * sharing + steps * step_s + rounds * (score_s + _ROUND_OVERHEAD_S)
    )
    return _Candidate(
        workers=workers,
        threads=threads,
        shards=shards,
        test_shards=test_shards,
        estimate=estimate,
        memory_mb=round_up_memory(estimate.total, capacity.memory_min_mb),
        collect_memory_mb=round_up_memory(estimate_collect(workers).total, capacity.memory_min_mb),
        round_s=steps * step_s / rounds,
        total_s=total_s,
    )


def _step_s(runtime: Runtime, model: ModelFacts, batch_size: int, threads: int) -> float:
    """Seconds of one training step; the backward pass costs two forward ones."""
    work = 3 * model.multiply_adds * batch_size
    speed = runtime.multiply_adds_per_s * threads**runtime.thread_exponent
    return float(runtime.step_overhead_s + work / speed)


def _timeout(best: _Candidate, bounds: _Bounds) -> float:
    """Generous, since a round that is cut into segments still costs a store and a fetch each."""
    wanted = max(_TIMEOUT_FLOOR_S, math.ceil(best.round_s * _TIMEOUT_FACTOR))
    return float(min(bounds.timeout_s, wanted))


def _reasons(
    best: _Candidate,
    candidates: list[_Candidate],
    bounds: _Bounds,
    job: TrainJob,
    capacity: Capacity,
) -> list[str]:
    if job.workers is not None:
        reasons = [f"{best.workers} workers, as asked for"]
    else:
        others = ", ".join(
            f"{c.workers} in {c.total_s:.1f} s" for c in candidates if c.workers != best.workers
        )
        cpus = "unknown CPUs" if capacity.cpus is None else f"{capacity.cpus} CPUs"
        reasons = [
            f"{best.workers} of at most {len(candidates)} workers on {cpus}: "
            f"predicted {best.total_s:.1f} s" + (f" (others: {others})" if others else "")
        ]
    reasons.append(
        f"{best.memory_mb} MB an action holds the estimate of {best.estimate.total:.0f} MB; "
        f"at most {bounds.memory_mb} MB allowed"
    )
    if best.round_s > bounds.timeout_s:
        segments = math.ceil(best.round_s / bounds.timeout_s)
        reasons.append(
            f"a round of {best.round_s:.0f} s is cut into about {segments} segments of at most "
            f"{bounds.timeout_s:g} s"
        )
    return reasons


def _too_large(
    smallest: _Candidate, bounds: _Bounds, limits: Limits, job: TrainJob
) -> InsufficientMemory:
    estimate = smallest.estimate
    setting = (
        f"raise --memory-max to {smallest.memory_mb}"
        if limits.memory_max_mb is not None and limits.memory_max_mb <= bounds.memory_mb
        else f"raise the platform's memory limit to {smallest.memory_mb} MB "
        "(whisk.memory.max; helm: whisk.limits.actions.memory.max)"
    )
    return InsufficientMemory(
        f"a train action needs {smallest.memory_mb} MB ({estimate.pkg:.0f} for the framework, "
        f"{estimate.dta:.0f} data, {estimate.mod:.0f} model, {estimate.fit:.0f} training step, "
        f"{estimate.saf:.0f} margin) and {bounds.memory_mb} MB is the limit, with "
        f"{smallest.workers} worker{'s' * (smallest.workers > 1)} and batch {job.batch_size}; "
        f"{setting}"
    )


def _pool_too_small(smallest: _Candidate, bounds: _Bounds, limits: Limits) -> InsufficientMemory:
    setting = "--pool-memory" if limits.pool_memory_mb is not None else "the platform's user memory"
    return InsufficientMemory(
        f"{smallest.workers} × {smallest.memory_mb} MB and {smallest.collect_memory_mb} MB for "
        f"collectWeights make {smallest.pool_mb} MB, and {setting} is {bounds.pool_mb:.0f} MB; "
        f"raise {setting} to {smallest.pool_mb} or use fewer workers"
    )
