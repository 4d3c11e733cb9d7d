"""How an inference's samples are dealt to several endpoints, and what is planned at each."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from disdel.controller.inference.endpoint_slices import plan_at_endpoints
from disdel.errors import UsageError
from disdel.planner.infer_plan import InferQuestion
from disdel.platforms.endpoints import Endpoint, Endpoints
from disdel.platforms.fabric.client import together
from disdel.platforms.prices import price_given
from disdel.runtimes.registry import TORCH
from disdel.settings import Settings
from tests.support.planning import CNN, capacity, dataset


def endpoint(name, *, usd=None, sizes=(), **changes):
    return Endpoint(
        name=name,
        platform="embedded",
        settings=Settings(),
        capacity=capacity(**changes),
        sizes_mb=sizes,
        price=None if usd is None else price_given(per_gb_s=usd, per_invocation=None),
    )


def planned(*endpoints, samples=1000, workers=None, place="time"):
    def ask(one, part, count):
        return InferQuestion(
            dataset=dataset(),
            shipped=TORCH.costs,
            capacity=one.capacity,
            samples=part,
            model_bytes=2_800_000,
            facts=CNN.facts,
            workers=count,
        )

    made_of = Endpoints(
        all=endpoints,
        capacity=together([one.capacity for one in endpoints]),
        place=place,
        collect=(),
        binds=False,
        homes=lambda clients, own_data: None,
    )
    return plan_at_endpoints(made_of, ask, samples, workers)


def test_each_endpoint_is_planned_for_by_its_own_limits():
    small = endpoint("small", cpus=1, memory_max_mb=512, sizes=(256, 512), usd=0.00002)
    large = endpoint("large", cpus=3, memory_max_mb=2048)
    plan = planned(small, large)
    at = {one.endpoint: one for one in plan.endpoints}
    assert [at[name].clients for name in ("small", "large")] == [251, 749]
    assert at["small"].memory_mb in (256, 512)
    assert (at["small"].usd is None, at["large"].usd) == (False, None)
    assert plan.threads == 1
    assert plan.gb_s == pytest.approx(sum(one.gb_s for one in plan.endpoints), abs=0.1)


@given(
    st.integers(1, 300),
    st.lists(st.integers(1, 8), min_size=1, max_size=5),
    st.none() | st.integers(1, 8),
)
@example(5, [1, 4], 5)
def test_each_sample_is_in_one_slice_and_each_action_at_one_endpoint(samples, cpus, workers):
    endpoints = [endpoint(f"e{n}", cpus=count) for n, count in enumerate(cpus)]
    plan = planned(*endpoints, samples=samples, workers=workers)
    positions = [p for part in plan.slices for p in range(part.start, part.stop)]
    assert positions == list(range(samples))
    assert [part.worker for part in plan.slices] == list(range(plan.workers))
    numbers = [worker for one in plan.endpoints for worker in one.workers]
    assert numbers == list(range(plan.workers))
    assert workers is None or plan.workers == min(workers, samples)


def test_by_price_all_go_to_the_cheapest():
    plan = planned(endpoint("dear", usd=2.0), endpoint("cheap", usd=1.0), place="price")
    assert [one.endpoint for one in plan.endpoints] == ["cheap"]


def test_an_endpoint_without_room_is_named():
    tiny = replace(endpoint("tiny"), capacity=capacity(memory_max_mb=128))
    with pytest.raises(UsageError, match=r"^endpoint tiny: an evaluate action needs"):
        planned(endpoint("large"), tiny)
