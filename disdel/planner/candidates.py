"""The ways in which a job could be cut, each with what it takes and what it lacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from disdel.errors import PartitionError
from disdel.planner.averaging import Averaging, choose_averaging
from disdel.planner.cpu_shares import size_mb, threads_of, turns_of
from disdel.planner.estimators import Estimator, choose_estimator
from disdel.planner.gpu import CONTEXT_MB, HOST_MB, gpu_tensors_mb
from disdel.planner.limits import Shortage, order, shortages
from disdel.planner.loads import at_once, in_steps_of, loads_of
from disdel.planner.memory import (
    BLOCK_STEPS,
    FLOAT_BYTES,
    SUM_COPIES,
    Work,
    sample_bytes,
    state_bytes,
    train_parts,
)
from disdel.planner.question import Question
from disdel.planner.slices import equal_slices, take_turns
from disdel.planner.throttling import throttled_s
from disdel.planner.timing import BesideSteps, Timing, predict
from disdel.types import Estimate, RuntimeCosts, Slice, TrainJob, Zones
from disdel.types.units import MIB, mb_ceil

# Of more workers than these one more makes no difference that a prediction is good enough to tell.
_EACH_COUNT = 64
# Rounds from one score to the next, where a platform's limit on invocations makes scores dear.
_SCORE_EVERY = (1, 2, 5, 10, 20, 50)
# A score in each round is worth so much of a run's time.
_SCORES_WORTH = 1.05

# The share of an activation's time that one graph call may take.
_BLOCK_SHARE_OF_TIMEOUT = 1 / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One number of workers, worked out."""

    workers: int
    threads: int | None
    client_samples: tuple[int, ...]
    turns: tuple[tuple[int, ...], ...]
    test_slices: tuple[Slice, ...]
    validation_slices: tuple[Slice, ...]
    estimate: Estimate
    zones: Zones
    memory_mb: int
    collect_memory_mb: int
    gpu_memory_mb: int | None
    averaging: Averaging
    rounds: int
    updates: int
    micro_batches: int
    block_steps: int
    timing: Timing
    is_seen: bool
    score_every: int
    scored_apart: int
    throttled_s: float
    store_mb: int
    shortages: tuple[Shortage, ...]

    @property
    def total_s(self) -> float:
        """From the plan to the end of the run, the waiting for minutes included."""
        return self.timing.total_s + self.throttled_s

    @property
    def pool_mb(self) -> int:
        """The limits of all containers together."""
        return self.workers * self.memory_mb + self.collect_memory_mb

    @property
    def gb_s(self) -> float:
        """What the activations add up to."""
        return self.memory_mb * self.timing.billed_s / 1024 + self.collect_gb_s

    @property
    def collect_gb_s(self) -> float:
        """What averages add up to."""
        return (self.collect_memory_mb or self.memory_mb) * self.timing.collect_s / 1024

    @property
    def invocations(self) -> int:
        """Activations: clients train until they are through, workers score, and some average.

        One more starts the first container of collectWeights, where there is any.
        """
        warm_up = self.collect_memory_mb > 0
        scores = self.scored_apart * self.workers
        # Where the rounds are scored on other samples than the model at the end.
        scores += len(self.validation_slices)
        return self.updates + self.rounds * self.averaging.actions + scores + warm_up


def candidates(question: Question) -> list[Candidate]:
    """Every number of workers that is considered, the best for the objective first.

    Raises:
        PartitionError: the samples cannot be dealt for any of them.
    """
    runtime = question.runtime
    estimator = choose_estimator(question.aims, runtime, question.observations)
    found: list[Candidate] = []
    refused: PartitionError | None = None
    for workers in _worker_counts(question):
        try:
            found.append(_candidate(workers, question, runtime, estimator))
        except PartitionError as error:
            refused = error
    if refused is not None and not found:
        raise refused
    return sorted(found, key=lambda candidate: order(candidate, question.aims.optimize))


def in_least_memory(question: Question) -> Candidate:
    """The one of one worker that needs least memory: single samples at once, where they can be."""
    runtime = question.runtime
    estimator = choose_estimator(question.aims, runtime, question.observations)
    parts = question.batch_of(question.dataset.train_samples) if question.cuts_batches else 1
    return _cut_candidate(1, parts, question, runtime, estimator)


def feasible(question: Question) -> Candidate | None:
    """The best candidate that breaks no limit."""
    return next((c for c in candidates(question) if not c.shortages), None)


def _updates(job: TrainJob, steps: int, rounds: int) -> int:
    """In how many rounds a client of so many steps over the run takes part."""
    return math.ceil(steps / job.sync) if isinstance(job.sync, int) else rounds


def _worker_counts(question: Question) -> list[int]:
    """Up to the cores, and beyond them by doubling: those only take turns, but hold less each."""
    if question.job.workers is not None:
        return [question.job.workers]
    job = question.job
    bounds = (job.clients, job.workers_max)
    most = min(
        question.most_workers, question.capacity.concurrency, *(bound for bound in bounds if bound)
    )
    counts = list(range(1, min(question.cpus, most, _EACH_COUNT) + 1))
    while counts[-1] < most:
        counts.append(min(2 * counts[-1], most))
    takes_updates = question.federation is not None and question.federation.updates is not None
    # On one container, nobody would go on while another client is slow.
    return counts[1:] or counts if takes_updates else counts


def _candidate(
    workers: int, question: Question, runtime: RuntimeCosts, estimator: Estimator
) -> Candidate:
    """A number of workers, with batches cut into as few parts as fit.

    Where not even single samples fit, batches stay whole: it is not a training step that is short.
    """

    def in_parts(micro_batches: int) -> Candidate:
        return _cut_candidate(workers, micro_batches, question, runtime, estimator)

    whole = in_parts(1)
    short_of_memory = any(
        shortage.bound in ("memory", "pool", "gpu") for shortage in whole.shortages
    )
    if not (short_of_memory and question.cuts_batches):
        return whole
    batch = question.batch_of(question.dataset.train_samples)
    most = in_parts(batch)
    if most.shortages:
        return whole
    parts = 2
    while parts < batch:
        cut = in_parts(parts)
        if not cut.shortages:
            return cut
        parts *= 2
    return most


def _cut_candidate(
    workers: int,
    micro_batches: int,
    question: Question,
    runtime: RuntimeCosts,
    estimator: Estimator,
) -> Candidate:
    dataset, job = question.dataset, question.job
    dealt = min(workers, dataset.train_samples)
    client_samples = question.client_samples(question.clients(workers) or dealt)
    done = question.work(client_samples)
    steps = [one.steps for one in done]
    batch_size = question.batch_of(max(client_samples))
    in_whole = in_steps_of(batch_size, done, question, runtime, micro_batches)
    turns = take_turns(in_whole, dealt)
    loads = loads_of(in_whole, turns)
    busiest = turns[loads.index(max(loads))]
    test_slices = equal_slices(dataset.test_samples, dealt)
    decides = job.validation.decides
    validation_slices = equal_slices(dataset.validation_samples, dealt) if decides else ()
    work = Work(
        dataset=dataset,
        model=question.facts,
        label=question.model.label,
        shard_samples=max(client_samples),
        test_samples=test_slices[0].samples,
        validation_samples=validation_slices[0].samples if decides else 0,
        batch_size=batch_size,
        epochs=job.epochs,
        micro_batches=micro_batches,
        precision=job.precision,
        held=runtime.held,
        term_copies=question.term_copies,
        calls=question.calls,
        loads=question.loads,
    )
    estimate = estimator.estimate(work)
    gpu_mb = question.gpu_memory_mb and gpu_tensors_mb(work)
    if gpu_mb:
        estimate = replace(estimate, framework=estimate.framework + HOST_MB * MIB)
    rounds = question.rounds(client_samples)
    parts = min(dealt, len(client_samples)) if question.sums else len(client_samples)
    memory_mb = size_mb(question, estimate.total / MIB)
    averaging = choose_averaging(
        parts,
        state_bytes(question.facts),
        asked=job.fan_in,
        payload_bytes=question.capacity.payload_bytes,
        cpus=question.cpus,
        memory_max_mb=question.memory_max_mb,
        free_mb=question.pool_mb - workers * memory_mb,
        rounds=rounds,
        is_whole=question.is_whole,
    )
    collect_mb = size_mb(question, averaging.memory_mb)
    # One worker that stays alone with one client averages by itself. Where there is no room for one
    # more container, the platform would evict a worker's for each average; there one of them
    # averages as well.
    alone = parts == workers == 1 and job.workers_policy == "fixed"
    evicts = workers * memory_mb <= question.pool_mb < workers * memory_mb + collect_mb
    if alone or (evicts and collect_mb <= memory_mb):
        collect_mb = 0
    # With others, sums within a step would be rounded otherwise: the same bits on any number.
    threads = 1 if question.federation else threads_of(question, workers, memory_mb)
    told = question.capacity.cpus is not None

    def scored(every: int) -> tuple[int, Timing, float]:
        timing = predict(
            runtime,
            work,
            workers=workers,
            worker_steps=loads,
            updates=1 if question.sums else max(map(len, turns)),
            # A container holds one client's samples at a time.
            read_again=sum(client_samples[c] for c in busiest) if len(busiest) > 1 else 0,
            threads=threads if told else 1,
            turns=turns_of(question, workers, memory_mb),
            crowding=turns_of(question, at_once(turns), memory_mb),
            tries=question.tries_precision,
            rounds=rounds,
            scores=math.ceil(rounds / every),
            averaging=averaging,
            compile_s=question.compile_s,
            pace=question.pace,
            beside=_beside_steps(question, work, runtime, len(client_samples), rounds, every),
            seen=question.run_times(workers, scored_share(rounds, every)),
        )
        waited_s = throttled_s(
            rounds,
            invocations=parts + averaging.actions,
            scores=0 if question.scores_first else workers,
            score_every=every,
            round_s=(timing.total_s - timing.start_s) / rounds,
            start_s=timing.start_s,
            per_minute=question.capacity.invokes_per_minute,
        )
        return every, timing, waited_s

    score_every, timing, waited_s = _choose_scores(job, rounds, scored)
    block_s = question.timeout_max_s * _BLOCK_SHARE_OF_TIMEOUT
    store_mb = _store_mb(question, work, client_samples, parts, workers)
    return Candidate(
        workers=workers,
        threads=threads if told else None,
        client_samples=client_samples,
        turns=turns,
        test_slices=test_slices,
        validation_slices=validation_slices,
        estimate=estimate,
        zones=_zones(runtime, work),
        memory_mb=memory_mb,
        collect_memory_mb=collect_mb,
        gpu_memory_mb=gpu_mb,
        averaging=averaging,
        rounds=rounds,
        updates=parts * rounds
        if question.sums
        else sum(_updates(job, one, rounds) for one in steps),
        micro_batches=micro_batches,
        block_steps=max(1, min(BLOCK_STEPS // micro_batches, int(block_s / timing.step_s))),
        timing=timing,
        is_seen=question.run_times(workers, scored_share(rounds, score_every)).rest_s is not None,
        score_every=score_every,
        scored_apart=_scored_apart(
            rounds,
            score_every,
            # In which each worker has something to train.
            min(max(_updates(job, steps[client], rounds) for client in turn) for turn in turns)
            if question.scores_first
            else 0,
        ),
        throttled_s=waited_s,
        store_mb=store_mb,
        shortages=shortages(
            question,
            {
                "batches": workers,
                "workers": workers,
                "memory": max(memory_mb, collect_mb),
                "timeout": timing.first_s,
                "pool": workers * memory_mb + collect_mb,
                "gpu": workers * gpu_action_mb(gpu_mb),
                "store": store_mb,
            },
            batches=question.most_workers,
        ),
    )


def _beside_steps(
    question: Question, work: Work, runtime: RuntimeCosts, clients: int, rounds: int, every: int
) -> BesideSteps:
    """What the clients of a federation do beside the steps of its rounds, `clients` in each."""
    federation = question.federation
    if federation is None:
        return BesideSteps()
    turns = rounds * clients
    scores = federation.scores
    if scores is None:
        return BesideSteps(turns=turns)
    times = scores.times if scores.further is None else 2 * scores.times
    scored = times * scores.samples
    if scores.before_average:
        dataset, decides = question.dataset, question.job.validation.decides
        split = dataset.validation_samples if decides else dataset.test_samples
        scored += math.ceil(rounds / every) * clients * split
    further = 0.0
    if scores.further is not None:
        [further] = in_steps_of(
            work.batch_size, [scores.further], question, runtime, work.micro_batches
        )
    return BesideSteps(
        turns=turns, score_turns=times * scores.clients, scored=scored, steps=scores.times * further
    )


def scored_share(rounds: int, every: int) -> float:
    """The share of the rounds that are scored: each `every`-th, and the last."""
    return math.ceil(rounds / every) / rounds


def _scored_apart(rounds: int, every: int, trained: int) -> int:
    """The scores that are activations of their own.

    The others are made before the first step of a round, where it is one of those first `trained`
    in which all workers have something to train.
    """
    before = max(0, min(trained, rounds) - 1)
    # The last round has a score whatever its number.
    return rounds // every - before // every + (rounds % every > 0)


def _choose_scores(
    job: TrainJob, rounds: int, scored: Callable[[int], tuple[int, Timing, float]]
) -> tuple[int, Timing, float]:
    """What `scored` says of the rounds between two scores that the user wants or that pay.

    Scores that decide something, and where the user says how many there are, stay as they are.
    """
    validation = job.validation
    if validation.every is not None or validation.decides:
        return scored(min(rounds, validation.every or 1))
    each = scored(1)
    if not each[2]:
        return each
    ways = [each, *(scored(every) for every in (*_SCORE_EVERY[1:], rounds) if every <= rounds)]
    least_s = min(timing.total_s + waited_s for _, timing, waited_s in ways)
    return next(way for way in ways if way[1].total_s + way[2] <= least_s * _SCORES_WORTH)


def gpu_action_mb(tensors_mb: int | None) -> int:
    """What an action takes of the GPU, CUDA itself included; 0 where that is not planned."""
    return tensors_mb + CONTEXT_MB if tensors_mb else 0


def _zones(runtime: RuntimeCosts, work: Work) -> Zones:
    parts = train_parts(work)
    anonymous_mb = runtime.anonymous_mb + parts.total / MIB
    return Zones(
        killed_below_mb=math.ceil(anonymous_mb),
        thrashing_below_mb=math.ceil(anonymous_mb + runtime.mapped_mb),
    )


def _store_mb(
    question: Question, work: Work, client_samples: tuple[int, ...], parts: int, workers: int
) -> int:
    """What Redis holds at most: samples, states, the parts of a round, each worker's checkpoint."""
    validation = question.job.validation
    # The round before and this one; the last that was scored and the best, where they are others.
    averages = 2 + (validation.every != 1) + (validation.patience is not None)
    dataset = question.dataset
    samples = dataset.train_samples + dataset.test_samples
    if question.federation is not None:
        # Those of this round, and of the next.
        samples = min(dataset.train_samples, 2 * sum(client_samples)) + dataset.test_samples
    samples += dataset.validation_samples if validation.decides else 0
    # The mean that a strategy makes the next state of.
    averages += question.advances
    states = (averages + parts + workers) * state_bytes(question.facts)
    # Of the round before and of this one.
    copies = 2 * (question.kept_copies + len(client_samples) * question.own_copies)
    if (federation := question.federation) is not None:
        copies = 2 * question.kept_copies + federation.most_kept * question.own_copies
        copies += federation.further_sums * (1 + parts * SUM_COPIES)
    kept = copies * question.facts.parameters * FLOAT_BYTES
    return mb_ceil(samples * sample_bytes(work.dataset) + states + kept)
