"""Plans of federations whose clients have so much memory each."""

from dataclasses import replace

import pytest

from disdel.controller.invoking.berths import berths_of
from disdel.errors import InsufficientMemory, PlanError
from disdel.planner.client_sizes import plan_by_sizes
from disdel.planner.plan import make_plan
from disdel.planner.question import ClientWork, Federation, SizedClients
from disdel.runtimes.registry import COMPILED, TORCH
from disdel.types import Limits, TrainJob
from tests.support.planning import capacity, dataset, question

BATCH = 512


def sized(*memories, samples=200):
    return tuple(
        SizedClients(
            memory_mb=memory_mb,
            clients=4.0,
            share=1 / len(memories),
            samples=lambda count: (samples,) * count,
            batch_size=BATCH,
        )
        for memory_mb in memories
    )


def asked(sizes, containers=None, **changes):
    federation = Federation(
        rounds=3, work=lambda count: (ClientWork(20, 100),) * count, sizes=sizes
    )
    job = TrainJob(
        dataset="mnist",
        batch_size=BATCH,
        workers=containers,
        clients=4 * len(sizes) or 4,
        **changes,
    )
    return question(job, dataset(train=800), capacity(), federation=federation)


def planned(sizes, containers=None, **changes):
    return plan_by_sizes([asked(sizes, containers, **changes)])[1]


def told(plan):
    return [(one.memory_mb, one.clients_mb, len(one.workers)) for one in plan.sizes]


def test_each_size_has_containers_of_its_own_and_batches_in_as_few_parts_as_fit():
    plan = planned(sized(480, 544, 1024))
    assert told(plan) == [(1024, (1024,), 1), (544, (544,), 1), (480, (480,), 1)]
    parts = [one.micro_batches for one in plan.sizes]
    assert parts[0] == 1 < parts[1] < parts[2]
    assert all(one.needs_mb <= one.memory_mb for one in plan.sizes)
    assert [one.workers for one in plan.sizes] == [(0,), (1,), (2,)]
    assert [plan.size_of(worker) for worker in range(3)] == list(plan.sizes)
    assert plan.workers == len(plan.turns) == 3
    # The worker that averages, where there is no room for one more, is of the largest.
    assert plan.memory_mb == 1024


@pytest.mark.parametrize("containers", [3, 4, 9])
def test_a_client_has_the_same_parts_on_any_number_of_containers(containers):
    sizes = sized(480, 544, 1024)
    plan = planned(sizes, containers)
    assert sum(len(one.workers) for one in plan.sizes) == containers
    assert [(one.memory_mb, one.micro_batches) for one in plan.sizes] == [
        (one.memory_mb, one.micro_batches) for one in planned(sizes).sizes
    ]


def test_who_has_most_to_do_has_most_containers():
    small, large = sized(600, 1200)
    plan = planned((replace(small, share=0.8), replace(large, share=0.2)), 5)
    assert told(plan) == [(1200, (1200,), 1), (600, (600,), 4)]


def test_fewer_containers_than_sizes_are_shared_by_whom_they_hold_as_they_are():
    plan = planned(sized(640, 700, 1024), 2)
    assert told(plan) == [(1024, (1024,), 1), (640, (640, 700), 1)]
    [one] = planned(sized(640, 700, 1024), 1).sizes
    assert (one.memory_mb, one.clients_mb) == (640, (640, 700, 1024))


def test_containers_that_do_not_hold_the_steps_of_others_are_not_shared():
    with pytest.raises(PlanError, match=r"480, 1024 MB .* 2 sizes.* --containers is 1: use .* 2"):
        planned(sized(480, 1024), 1)


def test_clients_that_have_too_little_are_told_what_they_need():
    with pytest.raises(InsufficientMemory, match=r"of 300 MB .* it needs (\d+) MB") as refused:
        planned(sized(300, 1024))
    [needed] = [int(word) for word in str(refused.value).split() if word.isdigit()][1:2]
    assert planned(sized(needed, 1024)).sizes[1].memory_mb == needed


@pytest.mark.parametrize(
    ("memory_mb", "why"),
    [(64, "less than the 128 MB"), (5000, "more than the 4096 MB")],
)
def test_sizes_that_no_action_can_have_are_refused(memory_mb, why):
    with pytest.raises(InsufficientMemory, match=why):
        planned(sized(memory_mb))


def test_all_containers_together_keep_to_the_pool():
    sizes = sized(640, 1024)
    tight = replace(asked(sizes), limits=Limits(pool_memory_mb=1800))
    plan = plan_by_sizes([tight])[1]
    assert told(plan) == [(1024, (1024,), 1), (640, (640,), 1)]
    shared = plan_by_sizes([replace(tight, limits=Limits(pool_memory_mb=1500))])[1]
    assert told(shared) == [(640, (640, 1024), 2)]
    with pytest.raises(InsufficientMemory, match=r"4 containers .* and 2 have"):
        plan_by_sizes([replace(asked(sizes, 4), limits=Limits(pool_memory_mb=1800))])
    with pytest.raises(InsufficientMemory, match="one of each takes 1504 MB, and there is room"):
        plan_by_sizes([replace(asked(sized(480, 1024)), limits=Limits(pool_memory_mb=1500))])


def test_the_runtime_is_one_that_fits_all_sizes():
    def chosen(least_mb):
        # Slow enough for its speed to decide against it, where both fit.
        light = replace(asked(sized(least_mb, 1024)), shipped=COMPILED.costs, slowness=10.0)
        return plan_by_sizes([replace(light, shipped=TORCH.costs, slowness=1.0), light])[1].runtime

    assert chosen(640) == "torch"
    assert chosen(256) == "compiled"


def test_without_sizes_it_is_the_plan_of_all():
    plain = asked(())
    assert plan_by_sizes([plain]) == make_plan([plain])


def test_a_container_gets_no_more_than_its_clients_have():
    berths = berths_of(planned(sized(640, 1024)))
    found = [(berths.of(w).planned.memory_mb, berths.of(w).memory_max_mb) for w in (0, 1)]
    assert found == [(1024, 1024), (640, 640)]
