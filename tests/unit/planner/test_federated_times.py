"""What a federation is predicted to take: clients that differ, versions, and scores by client."""

from dataclasses import replace

import pytest

from disdel.planner.plan import make_plan
from disdel.planner.question import ClientScores, ClientWork, Federation
from disdel.runtimes.registry import COMPILED, TENSORFLOW
from disdel.types import Aims, TrainJob
from tests.support.planning import capacity, dataset, question

COHORT = 8


def predicted(
    containers=1,
    batch=100,
    clients=COHORT,
    works=((50, 100.0),),
    shipped=TENSORFLOW.costs,
    **federation,
):
    """Seconds and GB·s; each of `works` is what some of the clients do."""

    def work(count):
        return tuple(ClientWork(*works[client % len(works)]) for client in range(count))

    job = TrainJob(dataset="mnist", batch_size=batch, workers=containers, clients=clients)
    asked = question(
        *(job, dataset(train=40_000, test=10), capacity(cpus=8)),
        counts=lambda count: (5000,) * count,
        federation=Federation(rounds=10, work=work, **federation),
    )
    plan = make_plan([replace(asked, shipped=shipped)])[1]
    return plan.predicted_s, plan.gb_s / plan.memory_mb


def test_clients_that_differ_take_what_each_of_them_takes():
    all_few, all_many = (predicted(works=((steps, 100.0),))[0] for steps in (20, 60))
    half = predicted(works=((20, 100.0), (60, 100.0)))[0]
    assert half == pytest.approx((all_few + all_many) / 2, rel=0.01)


def test_a_step_of_few_samples_is_not_one_of_many():
    large, small = (predicted(works=((400, batch),))[0] for batch in (100.0, 10.0))
    alone = predicted(batch=10, works=((400, 10.0),))[0]
    assert small == pytest.approx(alone, rel=0.02)
    assert large > 2 * small


def test_a_compiled_step_takes_as_long_however_few_samples_it_has():
    large, small = (
        predicted(works=((400, batch),), shipped=COMPILED.costs)[0] for batch in (100.0, 10.0)
    )
    assert small == large


@pytest.mark.parametrize("containers", [1, 2, 4])
def test_a_version_is_a_round_of_as_many_clients_as_it_is_made_of(containers):
    as_round = predicted(containers, clients=4)
    assert predicted(containers, updates=lambda _: 4) == as_round
    assert predicted(containers, updates=lambda _: 8)[0] > as_round[0]


def test_containers_that_would_make_updates_stale_stand_by():
    alone = predicted(1, updates=lambda _: 1)[0]
    assert predicted(4, updates=lambda _: 1)[0] == pytest.approx(alone, rel=0.05)


def test_nobody_waits_for_a_slow_client_on_a_container_of_its_own():
    job = TrainJob(dataset="mnist", clients=COHORT)

    def chosen(updates):
        federation = Federation(
            rounds=10,
            work=lambda count: (ClientWork(5, 64.0),) * count,
            updates=updates and (lambda _: updates),
        )
        asked = question(
            *(job, dataset(train=4000)), federation=federation, aims=Aims(optimize="memory")
        )
        return make_plan([asked])[1].workers

    assert (chosen(None), chosen(1)) == (1, 2)


def test_what_clients_score_is_in_the_time_and_in_the_gb_s():
    plain_s, plain = predicted(2)
    often = ClientScores(times=10, clients=1000, samples=100_000)
    scored_s, scored = predicted(2, scores=often)
    seldom_s, _ = predicted(2, scores=ClientScores(times=1, clients=1000, samples=100_000))
    assert scored_s - plain_s == pytest.approx(10 * (seldom_s - plain_s), rel=0.1)
    assert scored - plain == pytest.approx(2 * (scored_s - plain_s) / 1024, rel=0.1)
    further = ClientScores(times=1, clients=1000, samples=100_000, further=ClientWork(5000, 100.0))
    steps_s = (predicted(2, works=((5000, 100.0),))[0] - predicted(2)[0]) * 2 / 10 / COHORT
    assert predicted(2, scores=further)[0] - seldom_s > 0.9 * steps_s / 2
