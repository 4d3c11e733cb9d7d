"""Plans on a vector of counts: what each client has, whoever deals it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given

from disdel.errors import PartitionError
from disdel.planner.plan import make_plan
from disdel.planner.question import ClientWork, Federation
from disdel.types import TrainJob
from disdel.types.units import MIB
from tests.support.planning import capacity, dataset, jobs, plan, question

SAMPLES = 60_000


def job(**changes):
    return TrainJob(**({"dataset": "mnist", "workers": 3} | changes))


def dealt(*counts):
    return lambda clients: counts[:clients]


@given(job=jobs)
def test_equal_counts_are_what_a_plan_has_without_any(job):
    def equal(clients):
        return tuple(SAMPLES // clients + (c < SAMPLES % clients) for c in range(clients))

    assert plan(job, counts=equal) == plan(job)


def test_memory_is_by_the_largest_client_and_time_by_the_busiest_worker():
    even = plan(job(), counts=dealt(20_000, 20_000, 20_000))
    odd = plan(job(), counts=dealt(5_000, 15_000, 40_000))
    assert odd.client_samples == (5_000, 15_000, 40_000)
    assert odd.turns == ((0,), (1,), (2,))
    sample_bytes = 28 * 28 + 4
    assert odd.estimate.data - even.estimate.data == 20_000 * sample_bytes
    # With three workers on two CPUs, the busiest takes twice the steps of an equal share.
    small = plan(job(epochs=50), counts=dealt(5_000, 15_000, 40_000))
    level = plan(job(epochs=50), counts=dealt(20_000, 20_000, 20_000))
    assert small.predicted_s == pytest.approx(2 * level.predicted_s, rel=0.1)
    # All containers together are billed for the same steps.
    assert small.gb_s / small.memory_mb == pytest.approx(level.gb_s / level.memory_mb, rel=0.1)


@pytest.mark.parametrize(
    ("sync", "rounds"), [("epoch", 5), ("once", 1), (100, math.ceil(3125 / 100))]
)
def test_rounds_of_steps_go_on_until_the_largest_client_is_through(sync, rounds):
    made = plan(job(sync=sync), counts=dealt(5_000, 15_000, 40_000))
    assert made.rounds == rounds


def test_numbers_of_clients_that_cannot_be_dealt_to_are_no_candidates():
    def only_two(clients):
        if clients != 2:
            raise PartitionError(f"not to {clients} clients")
        return (1_000, 59_000)

    made = plan(job(workers=None), platform=capacity(cpus=8), counts=only_two)
    assert made.workers == 2
    assert {option.workers for option in made.considered} == {2}
    with pytest.raises(PartitionError, match="not to 3 clients"):
        plan(job(), counts=only_two)


def test_a_plan_does_not_depend_on_the_order_of_clients():
    counts = (5_000, 15_000, 40_000)
    plans = [plan(job(), dataset(), counts=dealt(*order)) for order in (counts, counts[::-1])]
    assert plans[1] == replace(plans[0], client_samples=counts[::-1])


@pytest.mark.parametrize(("rounds", "keeping"), [(1, 16), (3, 48), (100, 1000)])
def test_the_store_has_room_for_what_clients_keep_who_may_have_taken_part(rounds, keeping):
    """Beside what those of the present round are about to keep, and the sums of a container."""

    def store_mb(own_copies, further_sums=0):
        federation = Federation(
            rounds=rounds,
            work=lambda count: (ClientWork(5, 64),) * count,
            asked=16,
            clients=1000,
            further_sums=further_sums,
        )
        job = TrainJob(dataset="mnist", workers=2, clients=16)
        asked = question(job, dataset(train=2000), federation=federation, own_copies=own_copies)
        return make_plan([asked])[1].store_mb, asked.facts.parameters * 4 / MIB

    none, copy_mb = store_mb(0)
    assert store_mb(1)[0] - none == pytest.approx((keeping + 16) * copy_mb, abs=1)
    assert store_mb(0, 1)[0] - none == pytest.approx(5 * copy_mb, abs=1)
