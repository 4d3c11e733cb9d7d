"""What to say when no plan fits: need, limit, and changes that were checked to make it fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from disdel.errors import InsufficientMemory, PlanError
from disdel.planner.candidates import Candidate, candidates, feasible, gpu_action_mb
from disdel.planner.limits import Shortage, lifted, to_next_size
from disdel.planner.question import Question

# More limits than there are can not be in the way.
_MOST_CHANGES = 8


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A change, in words and made: the changed question has a plan."""

    text: str
    question: Question


def refusal(questions: Sequence[Question]) -> PlanError:
    """The error where no question has a plan; it speaks of the one that lacks least."""
    question = min(questions, key=lambda q: _lack(_nearest(q)))
    nearest = _nearest(question)
    shortage = nearest.shortages[0]
    told = [_complaint(question, nearest, shortage)]
    told += [suggestion.text for suggestion in suggestions(question)]
    kind = InsufficientMemory if shortage.bound in ("memory", "pool", "gpu", "store") else PlanError
    return kind("; ".join([told[0], ", or ".join(told[1:])] if told[1:] else told))


def suggestions(question: Question) -> tuple[Suggestion, ...]:
    """Changes that give an infeasible question a plan, each found by planning it."""
    changed = (_lift_limits(question), _other_workers(question), _smaller_batch(question))
    found = tuple(suggestion for suggestion in changed if suggestion is not None)
    return found or _other_workers_and_limits(question)


def _nearest(question: Question) -> Candidate:
    """The candidate that breaks fewest limits, and of those lacks least.

    One with more workers than CPUs is not what a user wants to make room for.
    """
    return min(candidates(question), key=lambda c: (c.workers > question.cpus, *_lack(c)))


def _lack(candidate: Candidate) -> tuple[float, ...]:
    return (len(candidate.shortages), candidate.shortages[0].need, candidate.workers)


def _lift_limits(question: Question) -> Suggestion | None:
    """Raise every limit that is in the way, one after another, by no more than is missing."""
    texts: list[str] = []
    changed = question
    for _ in range(_MOST_CHANGES):
        if feasible(changed) is not None:
            return Suggestion(" and ".join(texts), changed)
        raised = lifted(changed, _nearest(changed).shortages[0])
        if raised is None:
            return None
        text, changed = raised
        texts.append(text)
    return None


def _other_workers(question: Question) -> Suggestion | None:
    """The number of workers that fits, where the user asked for one that does not."""
    if question.job.workers is None:
        return None
    shortage = _nearest(question).shortages[0]
    if shortage.bound in ("batches", "workers"):
        most = replace(question, job=replace(question.job, workers=int(shortage.limit)))
        if feasible(most) is not None:
            return Suggestion(f"use --workers {most.job.workers} or fewer", most)
    free = replace(question, job=replace(question.job, workers=None))
    best = feasible(free)
    if best is None:
        return None
    changed = replace(question, job=replace(question.job, workers=best.workers))
    return Suggestion(f"use --workers {best.workers}", changed)


def _other_workers_and_limits(question: Question) -> tuple[Suggestion, ...]:
    """Both changes at once, where neither is enough."""
    free = _lift_limits(replace(question, job=replace(question.job, workers=None)))
    best = feasible(free.question) if free is not None else None
    if free is None or best is None:
        return ()
    changed = replace(free.question, job=replace(question.job, workers=best.workers))
    return (Suggestion(f"use --workers {best.workers} and {free.text}", changed),)


def _smaller_batch(question: Question) -> Suggestion | None:
    """The largest half, quarter and so on of the batch that fits."""
    for batch in _halves(question.job.batch_size):
        changed = replace(question, job=replace(question.job, batch_size=batch))
        if feasible(changed) is not None:
            return Suggestion(f"use --batch {batch}", changed)
    return None


def _halves(batch: int) -> Iterator[int]:
    while batch > 1:
        batch //= 2
        yield batch


def _complaint(question: Question, nearest: Candidate, shortage: Shortage) -> str:
    job, dataset, limits = question.job, question.dataset, question.limits
    workers = f"{nearest.workers} worker{'s' * (nearest.workers > 1)}"
    match shortage.bound:
        case "workers":
            return (
                f"--workers {nearest.workers} is more than the {shortage.limit:.0f} activations "
                "that the platform runs at once"
            )
        case "batches":
            if nearest.workers > dataset.train_samples:
                return (
                    f"--workers {nearest.workers} is more than the {dataset.train_samples} "
                    f"training samples of {dataset.name}: every worker needs at least one"
                )
            return (
                f"--workers {nearest.workers} is more than the {shortage.limit:.0f} batches of "
                f"{job.batch_size} in the {dataset.train_samples} training samples of "
                f"{dataset.name}: every worker needs at least one"
            )
        case "memory":
            if nearest.collect_memory_mb > nearest.memory_mb:
                return (
                    f"collectWeights needs {nearest.collect_memory_mb} MB for the updates of "
                    f"{workers} and {shortage.limit:.0f} MB is the limit"
                )
            framework, data, model, step, margin = nearest.estimate.parts_mb
            return (
                f"a train action needs {nearest.memory_mb} MB ({framework} for the framework, "
                f"{data} data, {model} model, {step} training step, {margin} margin"
                f"{to_next_size(nearest.estimate, nearest.memory_mb)}) and "
                f"{shortage.limit:.0f} MB is the limit, with {workers} and batch {job.batch_size}"
            )
        case "timeout":
            ours = limits.timeout_max_s == question.timeout_max_s
            setting = "--timeout-max" if ours else "the platform's time limit"
            return (
                f"importing the framework and taking one step need {shortage.need:.1f} s, and "
                f"{setting} is {shortage.limit:g} s"
            )
        case "pool":
            ours = limits.pool_memory_mb == question.pool_mb
            setting = "--pool-memory" if ours else "the platform's user memory"
            actions = f"{nearest.workers} × {nearest.memory_mb} MB"
            if nearest.collect_memory_mb:
                actions += f" and {nearest.collect_memory_mb} MB for collectWeights"
            return f"{actions} make {nearest.pool_mb} MB, and {setting} is {shortage.limit:.0f} MB"
        case "gpu":
            action_mb = gpu_action_mb(nearest.gpu_memory_mb)
            return (
                f"{nearest.workers} × {action_mb} MB of GPU memory ({nearest.gpu_memory_mb} for "
                f"tensors, the rest for CUDA) make {shortage.need:.0f} MB, and the GPU that the "
                f"actions share has {shortage.limit:.0f} MB"
            )
        case "store":
            return (
                f"samples and weights of {workers} take {shortage.need:.0f} MB of Redis, and it "
                f"has {shortage.limit:.0f} MB left"
            )
