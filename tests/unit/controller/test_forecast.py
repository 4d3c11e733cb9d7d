"""What a federation's clients are expected to do, before anybody has trained."""

import numpy as np
import pytest

from disdel.controller.federating.forecast import Forecast
from disdel.controller.federating.roster import Roster
from disdel.planner.question import ClientWork
from disdel.types import FederateJob
from disdel.types.assignment import Assignment
from disdel.types.evaluating import Evaluating

SIZES = (30, 10, 0, 20, 40)


def forecast(sizes=SIZES, **changes):
    fields = {"clients": len(sizes), "clients_per_round": 2, "batch_size": 10, "rounds": 6}
    job = FederateJob(dataset="digits", **(fields | changes))
    order = np.arange(sum(sizes))
    roster = Roster(job, Assignment(sizes=np.array(sizes), order=lambda: order))
    return Forecast(job, roster), roster


def test_of_one_client_the_largest_is_planned_for():
    _, roster = forecast()
    assert roster.typical(1) == (40,)
    assert roster.typical(2) == (40, 10)
    assert roster.typical(4) == (40, 30, 20, 10)


def test_each_client_has_its_own_epochs_and_batches():
    found, _ = forecast(batch_size=64, local_epochs="1,2,1,0.5,3", client_batch="10*4,16")
    assert found.work(4) == (
        ClientWork(9, 40 / 3),
        ClientWork(3, 10.0),
        ClientWork(1, 10.0),
        ClientWork(2, 10.0),
    )


def test_who_has_which_memory_and_how_much_to_do():
    found, _ = forecast(client_memory_mb="300,600,200,600,300", local_epochs="1*4,2")
    small, large = found.sizes()
    # The client without samples is never asked.
    assert (small.memory_mb, large.memory_mb) == (300, 600)
    assert (small.clients, large.clients) == (1.0, 1.0)
    assert (small.share, large.share) == pytest.approx((11 / 14, 3 / 14))
    assert (small.samples(1), large.samples(2)) == ((40,), (20, 10))
    assert forecast()[0].sizes() == ()


@pytest.mark.parametrize(
    ("evaluating", "times", "samples"),
    [
        ({"clients": 0}, 1, 100),
        ({"clients": 2}, 3, 100),
        ({"clients": 4}, 2, 100),
        ({"clients": 2, "holdout": 0.5}, 3, 50),
        ({"holdout": 0.5}, 1, 50),
        ({"clients": 2, "holdout": 0.5, "personalize": 1, "keep_personal": True}, 4, 50),
        ({"before_average": True}, 0, 100),
    ],
)
def test_how_often_clients_score_how_much(evaluating, times, samples):
    scores = forecast(evaluating=Evaluating(**evaluating))[0].scores()
    assert (scores.times, scores.clients, scores.samples) == (times, 4, samples)
    assert scores.before_average == bool(evaluating.get("before_average"))
    assert (scores.further is not None) == ("personalize" in evaluating)


def test_nothing_is_scored_by_clients_where_nobody_asks():
    assert forecast()[0].scores() is None
