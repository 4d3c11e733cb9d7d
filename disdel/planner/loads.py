"""What each worker has to do: the steps of its clients, whatever their batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

from disdel.planner.question import ClientWork, Question
from disdel.planner.timing import step_s
from disdel.types import Plan, RuntimeCosts


def at_once(turns: Sequence[Sequence[int]]) -> int:
    """How many workers train at the same time: those that have clients."""
    return sum(bool(clients) for clients in turns)


def worker_steps(question: Question, plan: Plan) -> list[float]:
    """What the plan of the question takes each worker to do, in steps of its batch size."""
    done = question.work(plan.client_samples)
    batch_size = question.batch_of(max(plan.client_samples))
    parts = plan.micro_batches
    return loads_of(in_steps_of(batch_size, done, question, question.runtime, parts), plan.turns)


def loads_of(steps: Sequence[float], turns: Sequence[Sequence[int]]) -> list[float]:
    return [math.fsum(steps[client] for client in clients) for clients in turns]


def in_steps_of(
    batch_size: int,
    done: Sequence[ClientWork],
    question: Question,
    runtime: RuntimeCosts,
    micro_batches: int,
) -> list[float]:
    """What each client does, as a number of steps of one batch size that take as long."""
    if not runtime.cuts_batches:
        # Its programs are of one batch size, which smaller batches are filled up to.
        return [float(one.steps) for one in done]

    def seconds(batch: float) -> float:
        return step_s(runtime, question.facts, batch, 1, micro_batches)

    whole_s = seconds(batch_size)
    return [
        one.steps if one.batch == batch_size else one.steps * seconds(one.batch) / whole_s
        for one in done
    ]
