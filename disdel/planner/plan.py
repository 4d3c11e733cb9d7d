"""How many workers, how much memory each, how the work is cut, and why.

Pure: the same question has the same plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from disdel.errors import PlanError
from disdel.planner.advice import refusal
from disdel.planner.candidates import Candidate, candidates, gpu_action_mb
from disdel.planner.limits import Shortage, capped, order
from disdel.planner.question import Question
from disdel.types import Option, Plan, TrainJob
from disdel.types.plan import in_brackets
from disdel.types.units import mb_ceil

# Times within this factor of the least are equal, as far as predictions go.
AS_GOOD = 1.1
# A plan that no run has tried here must be predicted to take at most so much of a tried one's time.
_CLEARLY_FASTER = 0.8


def make_plan(questions: Sequence[Question]) -> tuple[Question, Plan]:
    """The best plan for the objective that breaks no limit, and the question that it answers.

    Args:
        questions: one for each runtime that could be taken, alike in all else.

    Raises:
        InsufficientMemory: no number of workers fits the memory of an action, of all containers
            or of Redis.
        PartitionError: the samples cannot be dealt to any number of clients that is considered.
        PlanError: another limit is in the way, or the warm-up is longer than the run.
    """
    considered = [(question, c) for question in questions for c in candidates(question)]
    fitting = [(question, c) for question, c in considered if not c.shortages]
    if not fitting:
        raise refusal(questions)
    if any(question.federation is not None for question, _ in fitting):
        fitting = _of_one_runtime(fitting)
    question, best = _best(fitting)
    if question.federation is None:
        _check_warmup(question.job, best)
    place = {id(asked): number for number, asked in enumerate(questions)}
    considered.sort(key=lambda pair: (pair[0] is not question, place[id(pair[0])], pair[1].workers))
    return question, Plan(
        runtime=question.runtime.name,
        workers=best.workers,
        memory_mb=best.memory_mb,
        collect_memory_mb=best.collect_memory_mb,
        fan_in=best.averaging.fan_in,
        memory_max_mb=question.memory_max_mb,
        pool_mb=None if math.isinf(question.pool_mb) else int(question.pool_mb),
        timeout_s=question.timeout_s(best.timing.round_s),
        timeout_max_s=question.timeout_max_s,
        rounds=best.rounds,
        threads=best.threads,
        client_samples=best.client_samples,
        turns=best.turns,
        test_slices=best.test_slices,
        validation_slices=best.validation_slices,
        estimate=best.estimate,
        predicted_s=_predicted_s(question, best),
        gb_s=round(best.gb_s, 1),
        invocations=best.invocations,
        micro_batches=best.micro_batches,
        block_steps=best.block_steps,
        optimize=question.aims.optimize,
        estimator=question.aims.estimator,
        basis=question.basis,
        zones=best.zones,
        considered=tuple(
            _option(asked, candidate, question, best) for asked, candidate in considered
        ),
        reasons=tuple(_reasons(best, question)),
        gpu_memory_mb=best.gpu_memory_mb,
        precision=question.job.precision,
        gpu_actions=_gpu_actions(best, question),
        score_every=best.score_every,
        throttled_s=round(best.throttled_s, 1),
        store_mb=best.store_mb,
    )


def _check_warmup(job: TrainJob, best: Candidate) -> None:
    """Refuse a warm-up that no client lives to see the end of: the rate would never be reached.

    Raises:
        PlanError: it is one.
    """
    warmup = job.rate_schedule.warmup
    steps = job.epochs * math.ceil(max(best.client_samples) / job.batch_size)
    if warmup > steps:
        raise PlanError(
            f"--warmup {warmup:.0f} is longer than the run: a worker takes {steps} steps, and the "
            f"learning rate would never be reached; use --warmup {steps} at most, or a share such "
            "as 0.1"
        )


def _of_one_runtime(
    fitting: Sequence[tuple[Question, Candidate]],
) -> list[tuple[Question, Candidate]]:
    """The plans of a federation with the runtime that it has on any number of containers.

    Runtimes round differently, and a seed promises one model: which of those that fit is taken,
    hangs neither on the number of containers nor on what was measured or compiled before.
    """
    questions = {id(question): question for question, _ in fitting}
    if len(questions) == 1:
        return list(fitting)
    alone = [
        (question, candidate)
        for question in questions.values()
        for candidate in candidates(question.on_one_container)
    ]
    chosen, _ = _best(alone)
    return [pair for pair in fitting if pair[0] is chosen]


def _best(fitting: Sequence[tuple[Question, Candidate]]) -> tuple[Question, Candidate]:
    """The best for the objective; of those that are as good as fastest, the one of least memory."""
    [objective] = {question.aims.optimize for question, _ in fitting}
    if objective == "time":
        fitting = _worth_trying(fitting)
        least_s = min(candidate.total_s for _, candidate in fitting)
        fitting = [pair for pair in fitting if pair[1].total_s <= least_s * AS_GOOD]
        objective = "memory"
    return min(fitting, key=lambda pair: order(pair[1], objective))


def _worth_trying(
    fitting: Sequence[tuple[Question, Candidate]],
) -> list[tuple[Question, Candidate]]:
    """What was seen to be fastest here, with what is as yet only predicted to be clearly faster.

    So a run is not slower than an earlier one for a prediction that is a little off, or that is of
    a machine which has nothing else to do.
    """
    seen = [pair for pair in fitting if pair[1].is_seen]
    if not seen:
        return list(fitting)
    asked, fastest = min(seen, key=lambda pair: pair[1].total_s)
    most_s, pace = fastest.total_s * _CLEARLY_FASTER, _pace(asked, fastest)
    return [
        (question, candidate)
        for question, candidate in fitting
        if candidate.is_seen
        or candidate.total_s * (1.0 if question.has_seen_steps else pace) <= most_s
    ]


def _pace(question: Question, seen: Candidate) -> float:
    """How many times as long as predicted a run took that was seen; 1 for less.

    What others compute on the machine slows a runtime that nobody has seen as much.
    """
    unseen = candidates(replace(question, observations=()))
    predicted_s = next(one.total_s for one in unseen if one.workers == seen.workers)
    return max(1.0, seen.total_s / predicted_s)


def _predicted_s(question: Question, candidate: Candidate) -> float:
    """From the start of the command to its end, in tenths.

    While a network was tried out, containers got ready.
    """
    overlapped_s = min(question.tried_s, candidate.timing.ready_s)
    return round(question.spent_s - overlapped_s + candidate.total_s, 1)


def _gpu_actions(best: Candidate, question: Question) -> int | None:
    action_mb, all_mb = gpu_action_mb(best.gpu_memory_mb), question.gpu_memory_mb
    return all_mb // action_mb if action_mb and all_mb else None


def _option(asked: Question, candidate: Candidate, question: Question, best: Candidate) -> Option:
    return Option(
        runtime=asked.runtime.name,
        workers=candidate.workers,
        memory_mb=candidate.memory_mb,
        pool_mb=candidate.pool_mb,
        predicted_s=_predicted_s(asked, candidate),
        gb_s=round(candidate.gb_s, 1),
        fits=not candidate.shortages,
        why=_why_not(asked, candidate, question, best),
    )


def _why_not(asked: Question, candidate: Candidate, question: Question, best: Candidate) -> str:
    """Why `candidate` was not taken; empty for the one that was."""
    if candidate is best:
        return ""
    if candidate.shortages:
        return _lack(candidate.shortages[0])
    if asked is not question and asked.federation is not None:
        return f"on one container {question.runtime.name} is the better runtime"
    slow = candidate.total_s > best.total_s * AS_GOOD
    if asked is not question and question.aims.optimize == "time" and asked.compile_s and slow:
        return f"slower: {asked.compile_s:.0f} s to compile it the first time"
    match question.aims.optimize:
        case "cost":
            return "more GB·s"
        case "memory":
            return "more memory"
        case _ if not slow:
            return "as fast, with more memory"
        case _:
            crowded = candidate.workers > question.cpus and asked is question
            return f"slower: they take turns on {question.cpus} CPUs" if crowded else "slower"


def _lack(shortage: Shortage) -> str:
    need, limit = shortage.need, shortage.limit
    match shortage.bound:
        case "memory":
            return f"an action of {need:.0f} MB is above the limit of {limit:.0f} MB"
        case "pool":
            return f"{need:.0f} MB in all are above the {limit:.0f} MB for containers"
        case "gpu":
            return f"{need:.0f} MB in all are above the {limit:.0f} MB of the GPU"
        case "store":
            return f"{need:.0f} MB are above the {limit:.0f} MB that Redis has left"
        case "timeout":
            return f"one step takes {need:.1f} s and {limit:g} s is the time limit"
        case "batches":
            return f"only {limit:.0f} batches to share"
        case "workers":
            return f"the platform runs {limit:.0f} activations at once"


def _reasons(best: Candidate, question: Question) -> list[str]:
    cpus = question.capacity.cpus
    on = "unknown CPUs" if cpus is None else f"{cpus} CPUs"
    least = {
        "time": f"least memory among those within {AS_GOOD - 1:.0%} of the least time",
        "cost": "fewest GB·s",
        "memory": "least memory",
    }
    noun = "worker" if question.federation is None else "container"
    workers = f"{best.workers} {noun}{'s' * (best.workers > 1)}"
    reasons = [
        f"{workers}, as asked for"
        if question.job.workers is not None
        else f"{workers} on {on}: of the plans that fit, {least[question.aims.optimize]}",
    ]
    by_clients = question.federation is not None and bool(question.federation.sizes)
    if not by_clients:
        reasons.append(
            f"{best.memory_mb} MB an action holds the estimate of "
            f"{mb_ceil(best.estimate.total)} MB; at most {question.memory_max_mb} MB allowed"
        )
    if (per_cpu_mb := question.capacity.mb_per_cpu) is not None:
        share = min(1.0, best.memory_mb / per_cpu_mb)
        reasons.append(
            f"a container has a CPU of its own for every {per_cpu_mb} MB of its limit: "
            f"{'a whole one' if share == 1 else f'{share:.0%} of one'} here, in as many GB·s"
        )
    if question.federation is not None:
        if question.job.runtime is None:
            reasons.append(
                f"{question.runtime.name} on any number of containers, as the best on one, so that "
                "a seed gives the same model (--runtime names another)"
            )
        reasons.append(
            f"a container holds one client at a time, and is sized by the largest: "
            f"{max(best.client_samples)} samples"
        )
        deadline_s = question.federation.deadline_s
        begin_s = question.runtime.cold_start_s + best.timing.step_s
        if deadline_s is not None and deadline_s < begin_s:
            reasons.append(
                f"--deadline {deadline_s:g} is shorter than the {begin_s:.1f} s that a container "
                "is predicted to take for its start and one step: the first round may have no "
                "answer in time; use a longer one"
            )
    if best.workers > 1 and not best.collect_memory_mb:
        reasons.append(
            f"a worker's container averages as well: {question.pool_mb:.0f} MB for all containers "
            "have no room for one more"
        )
    if best.micro_batches > 1 and not by_clients:
        reasons.append(
            f"a batch is cut into {best.micro_batches} parts whose gradients are added up, to hold "
            "less of it at once"
        )
    largest = max(best.client_samples)
    if (batch := question.job.batch_size) > largest:
        whose = "client" if len(best.client_samples) != best.workers else "worker"
        reasons.append(
            f"no {whose} has a full batch of {batch}: each step takes all of its samples, "
            f"{largest} at most"
        )
    if question.tried_s >= 1:
        reasons.append(
            f"about {question.tried_s:.0f} s of it were for trying out the network, what came of "
            "which is kept"
        )
    if question.compile_s:
        reasons.append(
            f"about {question.compile_s:.0f} s of it are for compiling the network, which is kept"
        )
    if best.gpu_memory_mb:
        reasons.append(
            f"of the GPU's {question.gpu_memory_mb} MB an action's tensors may take "
            f"{best.gpu_memory_mb} MB; CUDA itself is taken to need "
            f"{gpu_action_mb(best.gpu_memory_mb) - best.gpu_memory_mb} MB more"
        )
    if question.job.precision is None:
        reasons.append(
            "training steps in bfloat16 if the processor has it and a trial at the start is "
            "clearly faster in it, else in float32; the report says which"
        )
    elif question.job.precision == "bfloat16" and question.is_tried:
        reasons.append("training steps in bfloat16, which a trial on this platform was faster in")
    per_minute = question.capacity.invokes_per_minute
    if best.score_every > 1 and question.job.validation.every is None:
        reasons.append(
            f"the average is scored every {best.score_every} rounds, since the platform takes "
            f"{per_minute} invocations a minute (--validate-every 1 scores each)"
        )
    if best.throttled_s >= 1:
        reasons.append(
            f"about {best.throttled_s:.0f} s of it are waiting for the next minute: the platform "
            f"takes {per_minute} invocations a minute and the run makes {best.invocations}"
            f"{in_brackets(question.capacity.names.invokes_per_minute)}"
        )
    limit_s = question.timeout_max_s
    if best.timing.round_s > limit_s:
        segments = math.ceil(best.timing.round_s / limit_s)
        reasons.append(
            f"a round of {best.timing.round_s:.0f} s is cut into about {segments} segments of at "
            f"most {limit_s:g} s"
        )
    patience = question.job.validation.patience
    if patience is not None and patience >= best.rounds:
        reasons.append(
            f"--patience {patience} ends nothing early in {best.rounds} rounds; the model is that "
            "of the best round"
        )
    return [*reasons, *capped(question), *question.notes]
