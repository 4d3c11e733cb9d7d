"""The plan of an inference on several endpoints: how many samples go to which, and to what there.

Each endpoint is planned for as a platform of its own, with its part of the samples. A sample
belongs to none of them, so all are dealt out: to all endpoints by their CPUs, or to the cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from disdel.controller.planning.endpoint_plans import (
    dealt,
    for_unbound,
    plan_of_endpoint,
    weight_of,
)
from disdel.errors import UsageError
from disdel.planner.infer_plan import InferQuestion, make_infer_plan
from disdel.planner.timing import FORWARDS_A_STEP, step_s
from disdel.platforms.endpoints import Endpoint, Endpoints
from disdel.types import EndpointPlan, InferPlan, Slice

AskAt = Callable[[Endpoint, int, int | None], InferQuestion]


def plan_at_endpoints(
    endpoints: Endpoints, ask: AskAt, samples: int, workers: int | None
) -> InferPlan:
    """The plan of an inference.

    Args:
        endpoints: those that answer.
        ask: the question for an endpoint, of its number of samples and of actions there.
        samples: of all.
        workers: how many actions the user wants in all; None to choose.

    Raises:
        UsageError: an endpoint has no room for its part.
    """
    chosen = _busy(for_unbound(endpoints), min(samples, workers or samples))
    weights = {one.name: float(weight_of(one)) for one in chosen}
    wanted: dict[str, int] = {}
    least = dict.fromkeys(weights, 1)
    if workers is not None:
        most = {one.name: one.capacity.concurrency for one in chosen}
        wanted = dealt(min(workers, samples, sum(most.values())), weights, most)
        weights = {name: float(count) for name, count in wanted.items()}
        least = wanted
    counts = _shared(samples, weights, least)
    first, start = 0, 0
    parts: list[tuple[EndpointPlan, InferPlan]] = []
    slices: list[Slice] = []
    for endpoint in chosen:
        question = ask(endpoint, counts[endpoint.name], wanted.get(endpoint.name))
        try:
            plan = make_infer_plan(question)
        except UsageError as error:
            error.reworded(f"endpoint {endpoint.name}: {error}")
            raise
        slices += [
            Slice(worker=first + one.worker, start=start + one.start, stop=start + one.stop)
            for one in plan.slices
        ]
        numbers = tuple(range(first, first + plan.workers))
        parts.append((_at(endpoint, question, plan, numbers), plan))
        first, start = first + plan.workers, start + counts[endpoint.name]
    return _together(parts, slices)


def _busy(endpoints: Sequence[Endpoint], most: int) -> list[Endpoint]:
    """The endpoints that get samples: those with most CPUs, where there are more than actions."""
    kept = sorted(endpoints, key=weight_of, reverse=True)[:most]
    return [one for one in endpoints if one in kept]


def _shared(samples: int, weights: Mapping[str, float], least: Mapping[str, int]) -> dict[str, int]:
    """The samples of each endpoint: one for each of its actions at least, the others by weight."""
    rest, total = samples - sum(least.values()), sum(weights.values())
    ends = [round(rest * before / total) for before in accumulate(weights.values(), initial=0.0)]
    return {name: least[name] + b - a for name, (a, b) in zip(weights, pairwise(ends), strict=True)}


def _at(
    endpoint: Endpoint, question: InferQuestion, plan: InferPlan, workers: tuple[int, ...]
) -> EndpointPlan:
    a_step_s = step_s(question.runtime, question.network, plan.batch_size, plan.threads or 1)
    return plan_of_endpoint(
        endpoint,
        plan,
        workers,
        clients=question.samples,
        step_s=a_step_s / FORWARDS_A_STEP,
        cold_start_s=question.runtime.cold_start_s,
    )


def _together(parts: Sequence[tuple[EndpointPlan, InferPlan]], slices: list[Slice]) -> InferPlan:
    plans = [plan for _, plan in parts]
    largest = max(plans, key=lambda plan: plan.memory_mb)
    threads = [plan.threads for plan in plans if plan.threads is not None]
    return replace(
        largest,
        workers=len(slices),
        # A request says how many, wherever it is sent.
        threads=min(threads, default=None),
        batch_size=min(plan.batch_size for plan in plans),
        slices=tuple(slices),
        predicted_s=max(plan.predicted_s for plan in plans),
        gb_s=round(sum(plan.gb_s for plan in plans), 1),
        invocations=sum(plan.invocations for plan in plans),
        reasons=tuple(f"{one.endpoint}: {plan.reasons[0]}" for one, plan in parts),
        store_mb=sum(plan.store_mb for plan in plans),
        endpoints=tuple(one for one, _ in parts),
    )
