"""Rounds that too few clients are there for are told before the run."""

import numpy as np
import pytest

from disdel.controller.federating import foreseeing
from disdel.controller.federating.foreseeing import Shortage, check_foreseen, find_shortage
from disdel.controller.federating.roster import Roster
from disdel.controller.planning.strategy_checks import check_least
from disdel.errors import UsageError
from disdel.strategies.asking import strategy_of
from disdel.types import FederateJob, Validation
from disdel.types.assignment import Assignment
from disdel.types.privacy import Privacy

SIZES = np.full(10, 3)


def job(**options):
    return FederateJob(**{"dataset": "digits", "clients": 10, "rounds": 20, **options})


def roster(asked, **options):
    assignment = Assignment.of_ranges(SIZES, lambda: np.arange(SIZES.sum()))
    return Roster(asked, assignment, **options)


@pytest.fixture
def trace(tmp_path):
    """All are there but in rounds 6 to 8, when three are, and in round 15, when one is."""
    lines = [f"{client},1,5\n{client},9,14\n{client},16," for client in range(10)]
    lines += [f"{client},6,8" for client in (2, 5, 7)] + ["4,15,15"]
    path = tmp_path / "trace.csv"
    path.write_text("client,first_round,last_round\n" + "\n".join(lines))
    return str(path)


@pytest.mark.parametrize(
    ("least", "first", "short"),
    [
        (4, 1, Shortage(first=6, clients=3, rounds=4, fewest=1)),
        (3, 1, Shortage(first=15, clients=1, rounds=1, fewest=1)),
        (1, 1, None),
        (10, 8, Shortage(first=8, clients=3, rounds=2, fewest=1)),
        (10, 16, None),
        (10, 21, None),
    ],
)
def test_a_trace_tells_rounds_to_come(trace, least, first, short):
    asked = job(available=trace, min_clients=least)
    assert find_shortage(asked, roster(asked), first) == short


@pytest.mark.parametrize("probability", ["0.2", "0.6", "1"])
def test_what_the_seed_draws_is_what_the_rounds_find(probability):
    asked = job(available=probability, clients_per_round=5, seed=3, min_clients=3)
    made = roster(asked)
    there = [made.able(number) for number in range(1, 21)]
    short = find_shortage(asked, made, 1)
    few = [number for number, clients in enumerate(there, 1) if clients < 3]
    assert (short.rounds if short else 0) == len(few)
    if short:
        assert (short.first, short.fewest) == (few[0], min(there))


def test_cohorts_by_chance_are_foreseen_where_others_may_know_them():
    asked = job(select="poisson", clients_per_round=2, min_clients=1)
    made = roster(asked)
    empty = [number for number in range(1, 21) if not made.cohort(number)]
    short = find_shortage(asked, made, 1)
    assert empty
    assert (short.first, short.rounds, short.fewest) == (empty[0], len(empty), 0)
    hidden = Privacy(clip=1.0, noise=1.0)
    asked = job(
        select="poisson", clients_per_round=2, min_clients=1, average="equal", privacy=hidden
    )
    assert find_shortage(asked, roster(asked), 1) is None
    # Their number decides the chance, and nobody knows it yet.
    asked = job(select="poisson", clients_per_round=2, data="own.py:load")
    assert find_shortage(asked, roster(asked, is_counted=False), 1) is None


def test_of_very_many_the_first_rounds_are_looked_at(trace, monkeypatch):
    asked = job(available=trace)
    monkeypatch.setattr(foreseeing, "_MOST_LOOKED_AT", 2 * roster(asked).looked_at)
    assert find_shortage(asked, roster(asked), 1) == Shortage(6, 3, 3, 3)
    asked = job(available=trace, min_clients=3)
    assert find_shortage(asked, roster(asked), 1) is None


def test_of_billions_of_rounds_some_are_looked_at(monkeypatch):
    asked = job(available="0.999", min_clients=1, rounds=2**31)
    made, looked_at = roster(asked), []
    monkeypatch.setattr(Roster, "foreseen", lambda _, number: looked_at.append(number) or 1)
    assert find_shortage(asked, made, 5) is None
    assert looked_at == list(range(5, 5 + foreseeing._MOST_ROUNDS))


def test_a_round_that_cannot_be_is_refused_before_the_run(trace):
    asked = job(available=trace, clients_per_round=4)
    with pytest.raises(UsageError) as refused:
        check_foreseen(asked, roster(asked), 0, waits=True)
    assert str(refused.value) == (
        f"round 6 of 20 would have 3 of 10 clients, by --available {trace}, and 4 must answer, and "
        "in 4 rounds there are too few: --min-clients 1 goes on with them, or have more there"
    )
    assert check_foreseen(asked, roster(asked), 15, waits=True) is None


@pytest.mark.parametrize(
    "ends",
    [
        {"validation": Validation(target_accuracy=0.9)},
        {"validation": Validation(patience=3)},
        {
            "privacy": Privacy(clip=1.0, noise=1.0, epsilon=9.0),
            "average": "equal",
        },
    ],
)
def test_where_a_run_may_end_before_it_is_told(trace, ends):
    asked = job(available=trace, min_clients=2, **ends)
    told = check_foreseen(asked, roster(asked), 0, waits=True)
    assert "round 15 of 20 would have 1 of 10 clients" in told
    assert told.endswith("Unless the run ends before, it fails there")
    # The next one comes, whatever happens.
    with pytest.raises(UsageError, match="round 15 of 20 would have 1"):
        check_foreseen(asked, roster(asked), 14, waits=True)


def test_where_no_round_waits_somebody_must_be_there(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("client,first_round,last_round\n1,1,4\n2,6,\n")
    asked = job(available=str(path))
    made = roster(asked, waits=False)
    told = check_foreseen(asked, made, 0, waits=False)
    assert "round 5 of 20 would have 0 of 10 clients" in told
    assert "1 must answer: somebody must be there in each round. Unless" in told
    assert made.cohort(7, there_in=3) == [1]


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"strategy": "krum", "min_clients": 4}, 4),
        ({"strategy": "krum", "clients_per_round": 4, "over_select": 2}, 4),
        ({"strategy": "krum", "clients_per_round": 8, "select": "poisson"}, 1),
        ({"strategy": "multi-krum:keep=6", "min_clients": 6}, 6),
        ({"strategy": "trimmed-mean:beta=0.1", "min_clients": 9}, 9),
    ],
)
def test_a_strategy_can_combine_what_a_round_goes_on_with(options, least):
    asked = job(**options)
    with pytest.raises(UsageError, match=rf"\b{least}\b.*--min-clients says how few"):
        check_least(strategy_of(asked), asked)
    enough = job(**{**options, "min_clients": 10, "clients_per_round": 10, "over_select": 1})
    check_least(strategy_of(enough), enough)
