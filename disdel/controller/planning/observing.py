"""From runs to observations: what a training took, for the plans of later ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from disdel.controller.planning.history import History
from disdel.planner.calibration import RunTimes, step_ratio
from disdel.planner.candidates import scored_share
from disdel.planner.cpu_shares import turns_of
from disdel.planner.gpu import HOST_MB
from disdel.planner.loads import at_once, worker_steps
from disdel.planner.memory import Work, train_parts
from disdel.planner.observations import Container, Observation, containers
from disdel.planner.question import Question
from disdel.planner.timing import step_s, trace_s, trial_s, trial_trace_s
from disdel.types import Activation, Plan, Precision
from disdel.types.events import Listener, Noted
from disdel.types.timeline import split_time
from disdel.types.units import MIB

# Steps of clients whose batches differ by no more take about as long.
_LIKE = 1.25


@dataclass(slots=True)
class Lessons:
    """What a run has to tell later plans, kept until it is known what its command took.

    Attributes:
        started_s: when that began, by `time.monotonic`.
        is_done: whether the run came to its end.
    """

    started_s: float
    is_done: bool = False
    _kept: list[Callable[[float | None], None]] = field(default_factory=list)

    def keep(
        self,
        history: History,
        question: Question,
        plan: Plan,
        activations: Sequence[Activation],
        emit: Listener,
    ) -> None:
        """Keep those of a run, or of its part at an endpoint; arguments are as for `observe`."""
        self._kept.append(
            lambda whole_s: remember(history, observe(question, plan, activations, whole_s), emit)
        )

    def tell(self) -> None:
        """Add them to the histories: the command has nothing else to do."""
        whole_s = time.monotonic() - self.started_s if self.is_done else None
        for told in self._kept:
            told(whole_s)


def observe(
    question: Question, plan: Plan, activations: Sequence[Activation], whole_s: float | None
) -> list[Observation]:
    """What the train containers of a run took, one observation each.

    Args:
        question: that was planned for.
        plan: of the run.
        activations: of the run.
        whole_s: from the start of its command to its end; None of a run that failed.
    """
    observed = []
    precision = question.job.precision or precision_of(activations) or "float32"
    seen = containers(activations, block_steps=plan.block_steps)
    turns = turns_of(question, plan.workers, plan.memory_mb)
    crowding = turns_of(question, at_once(plan.turns), plan.memory_mb)
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
                # While its network was tried out, the framework was imported; and where the user's
                # code loads samples, that takes what it takes.
                cold_start_s=None
                if question.tried_s or question.loads
                else _divided(container.cold_start_s, turns),
                step_s=container.step_s if _has_like_steps(question, plan) else None,
                # A trial of precisions has traced it before.
                trace_s=None if question.tries_precision else _divided(container.trace_s, crowding),
                # One of a federation has a block for each client.
                first_s=_divided(container.first_s, crowding)
                if question.federation is None and not question.tries_precision
                else None,
                first_steps=container.first_steps,
                federated=question.federation is not None,
                loads=question.loads,
                shipped_step_s=crowding
                * step_s(
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
            )
        )
    trained_s = _trained_s(question, plan, observed)
    times = _run_times(question, plan, activations, seen, trained_s, whole_s)
    return [
        replace(one, ready_s=times.ready_s, begin_s=times.begin_s, rest_s=times.rest_s)
        for one in observed
    ]


def _divided(seconds: float | None, parts: float) -> float | None:
    return None if seconds is None else seconds / parts


def _trained_s(question: Question, plan: Plan, observed: Sequence[Observation]) -> float | None:
    """What the plan of a like run will count for steps; None where none was measured."""
    ratio = step_ratio(observed)
    if ratio is None:
        return None
    return max(worker_steps(question, plan)) * ratio * observed[0].shipped_step_s


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
    trained_s: float | None,
    whole_s: float | None,
) -> RunTimes:
    """What a run took beside its steps; of whole runs that lost no activation.

    So the plan of a like run, which adds the steps of its busiest worker, comes to what this took.
    """
    rounds = {a.round for a in activations if a.outcome == "ok"}
    whole = rounds >= set(range(1, plan.rounds + 1)) and all(a.outcome == "ok" for a in activations)
    if question.federation is not None and question.federation.scores is not None:
        # What clients score is no part of what such a round takes without.
        whole = False
    there_ms = [a.times.started_ms for a in activations if a.task == "train" and a.times]
    split = None if whole_s is None or not whole else split_time(activations, whole_s)
    if split is None or whole_s is None or not there_ms:
        return RunTimes()
    there_s = min(there_ms) / 1000
    traced_s = max((one.trace_s for one in seen if one.trace_s is not None), default=None)
    if traced_s is None:
        # As later plans will count it.
        traced_s = trace_s(question.runtime, question.facts)
    if trained_s is None:
        trained_s = split.training_s - traced_s
    rounds_s = whole_s - split.start_s - traced_s - split.end_s
    # While a network was tried out or compiled, a container has had more time than it needs.
    alone = not question.tried_s and not question.compile_s
    return RunTimes(
        ready_s=max(0.0, there_s - question.spent_s) if alone else None,
        begin_s=max(0.0, split.start_s - there_s + split.end_s - _trial_s(question, plan)),
        rest_s=max(0.0, (rounds_s - trained_s) / plan.rounds),
    )


def _trial_s(question: Question, plan: Plan) -> float:
    """What a trial of precisions took before the first step, tracing for that included."""
    if not question.tries_precision:
        return 0.0
    runtime, facts = question.runtime, question.facts
    batch = question.batch_of(max(plan.client_samples))
    one_s = step_s(runtime, facts, batch, plan.threads or 1, plan.micro_batches)
    return trial_s(runtime, facts, one_s) + trial_trace_s(runtime, facts)


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
