"""Who trains in a round: what every selection must do, and what each is for."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disdel.errors import UsageError
from disdel.selection import Roster, find_selection, selection_names

ALL = {
    "fastest": ["fastest", "fastest:floor=0", "fastest:floor=1"],
    "poisson": ["poisson"],
    "power-of-choice": ["power-of-choice", "power-of-choice:d=60"],
    "round-robin": ["round-robin"],
    "size": ["size"],
    "uniform": ["uniform"],
    "warm": ["warm", "warm:floor=0.5"],
}
EACH = [asked for several in ALL.values() for asked in several]


def cohort(asked, roster, wanted, *, able=None, number=1, seed=0):
    able = np.arange(len(roster.samples)) if able is None else able
    return find_selection(asked).cohort(roster, able, wanted=wanted, number=number, seed=seed)


def a_roster(seed, clients=60):
    """One in the midst of a run: some have trained, some are warm."""
    random = np.random.default_rng(seed)
    roster = Roster.of(random.integers(1, 100, clients))
    for _ in range(3):
        some = random.permutation(clients)[: clients // 3]
        roster.ask(some)
        roster.tell(some, loss=random.random(len(some)), took_s=random.random(len(some)))
    roster.keep_warm(some)
    return roster


def test_every_selection_is_examined():
    assert {usage.partition("[")[0] for usage in selection_names()} == set(ALL)


@pytest.mark.parametrize("asked", EACH)
@given(seed=st.integers(0, 2**32 - 1), number=st.integers(1, 10**6), data=st.data())
@settings(max_examples=30)
def test_a_cohort_is_of_those_who_are_able_none_twice_and_the_same_again(asked, seed, number, data):
    roster = a_roster(seed)
    able = np.array(sorted(data.draw(st.sets(st.integers(0, 59), min_size=1))))
    wanted = data.draw(st.integers(1, 60))
    np.random.seed(seed % 1000)  # somebody else's
    made = cohort(asked, roster, wanted, able=able, number=number, seed=seed)
    assert asked == "poisson" or len(made) == min(wanted, len(able))
    assert set(made) <= set(able)
    assert (np.diff(made) > 0).all()
    again = cohort(asked, a_roster(seed), wanted, able=able, number=number, seed=seed)
    assert made.tolist() == again.tolist()


@pytest.mark.parametrize("asked", EACH)
def test_the_order_in_which_clients_answer_changes_nothing(asked):
    random = np.random.default_rng(1)
    answers = [(client, random.random(), random.random()) for client in random.permutation(60)[:40]]
    cohorts = []
    for order in (answers, answers[::-1]):
        roster = Roster.of(np.full(60, 10))
        for client, loss, took_s in order:
            roster.ask([client])
            roster.tell([client], loss=[loss], took_s=[took_s])
        cohorts.append(cohort(asked, roster, 7, number=3).tolist())
    assert cohorts[0] == cohorts[1]


@pytest.mark.parametrize("asked", ["uniform", "size", "power-of-choice"])
def test_seed_and_round_choose_others(asked):
    roster = a_roster(0)
    first = cohort(asked, roster, 10).tolist()
    assert first != cohort(asked, roster, 10, seed=1).tolist()
    assert first != cohort(asked, roster, 10, number=2).tolist()


def test_uniform_asks_all_alike():
    roster = Roster.of(np.arange(1, 21))
    taken = np.zeros(20)
    for number in range(2000):
        taken[cohort("uniform", roster, 5, number=number)] += 1
    # 500 expected each, with a deviation of 19.
    assert abs(taken - 500).max() < 100


def test_size_asks_in_proportion_to_samples():
    roster = Roster.of([10] * 50 + [30] * 50)
    taken = np.zeros(100)
    for number in range(4000):
        taken[cohort("size", roster, 1, number=number)] += 1
    assert taken[50:].sum() / taken[:50].sum() == pytest.approx(3, abs=0.4)


@given(clients=st.integers(1, 40), wanted=st.integers(1, 40), rounds=st.integers(1, 30))
def test_round_robin_asks_everybody_before_anybody_again(clients, wanted, rounds):
    roster = Roster.of(np.full(clients, 5))
    for number in range(1, rounds + 1):
        roster.ask(cohort("round-robin", roster, wanted, number=number))
        assert roster.asked.max() - roster.asked.min() <= 1


def test_round_robin_makes_up_for_rounds_that_a_client_was_away():
    roster = Roster.of(np.full(4, 5))
    for number in range(1, 4):
        roster.ask(cohort("round-robin", roster, 2, able=np.array([0, 1, 2]), number=number))
    assert 3 in cohort("round-robin", roster, 2, number=4)


def test_power_of_choice_takes_the_highest_losses_of_its_candidates():
    roster = Roster.of(np.full(60, 10))
    roster.tell(np.arange(60), loss=np.arange(60.0), took_s=np.ones(60))
    assert cohort("power-of-choice:d=60", roster, 5).tolist() == [55, 56, 57, 58, 59]
    assert cohort("power-of-choice:d=10", roster, 5).mean() > 30


def test_power_of_choice_takes_those_first_who_have_never_trained():
    roster = Roster.of(np.full(60, 10))
    roster.tell(np.arange(5, 60), loss=np.full(55, 1e6), took_s=np.ones(55))
    assert cohort("power-of-choice:d=60", roster, 5).tolist() == [0, 1, 2, 3, 4]


def test_too_few_candidates_are_refused():
    with pytest.raises(UsageError, match="of 4 candidates no 5 clients can be chosen: raise d"):
        cohort("power-of-choice:d=4", Roster.of(np.full(60, 10)), 5)


def test_fastest_takes_the_fastest_after_all_have_been_tried():
    roster = Roster.of(np.full(60, 10))
    for number in range(1, 7):
        chosen = cohort("fastest:floor=0", roster, 10, number=number)
        roster.ask(chosen)
        roster.tell(chosen, loss=np.ones(10), took_s=60.0 - chosen)
    assert (roster.asked == 1).all()
    assert cohort("fastest:floor=0", roster, 10, number=7).tolist() == list(range(50, 60))


@given(
    floor=st.floats(0.01, 1),
    clients=st.integers(2, 60),
    share=st.floats(0.02, 0.9),
    seed=st.integers(0, 99),
)
@settings(max_examples=40)
@pytest.mark.parametrize("name", ["fastest", "warm"])
def test_the_fairness_floor_holds(name, floor, clients, share, seed):
    roster = Roster.of(np.full(clients, 5))
    wanted = max(1, int(share * clients))
    took_s = np.random.default_rng(seed).random(clients)
    for number in range(1, 40):
        chosen = cohort(f"{name}:floor={floor}", roster, wanted, number=number, seed=seed)
        roster.ask(chosen)
        roster.tell(chosen, loss=np.ones(len(chosen)), took_s=took_s[chosen])
        roster.keep_warm(chosen)
        assert roster.asked.min() >= math.ceil(floor * wanted) * number // clients


def test_without_a_floor_the_slow_are_left_out():
    roster = Roster.of(np.full(10, 5))
    roster.tell(np.arange(10), loss=np.ones(10), took_s=np.arange(10.0))
    for number in range(1, 20):
        roster.ask(cohort("fastest:floor=0", roster, 2, number=number))
    assert roster.asked.tolist() == [19, 19, *[0] * 8]


def test_warm_takes_those_first_whose_samples_are_at_hand():
    roster = Roster.of(np.full(60, 10))
    roster.keep_warm([7, 20, 33])
    assert {7, 20, 33} <= set(cohort("warm:floor=0", roster, 5))
    roster.keep_warm(range(40, 60))
    assert set(cohort("warm:floor=0", roster, 5)) <= set(range(40, 60))


def test_a_million_clients_take_21_bytes_each():
    roster = Roster.of(np.ones(1_000_000, np.int64))
    assert roster.nbytes == 21_000_000
    for asked in EACH:
        assert asked == "poisson" or len(cohort(asked, roster, 50)) == 50


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("nearest", r"unknown --select 'nearest'; known: fastest\[:floor=0.1\], poisson, power"),
        ("uniform:3", "--select uniform:3: uniform takes no parameters"),
        ("fastest:floor=2", "floor must be from 0 to 1, not 2"),
        ("fastest:floor=nan", "floor must be a number from 0 to 1, not 'nan'"),
        ("power-of-choice:d=0", "d must be at least 1, not 0"),
        ("power-of-choice:e=3", "has no parameter e"),
    ],
)
def test_a_name_that_is_none_is_refused(asked, message):
    with pytest.raises(UsageError, match=message):
        find_selection(asked)


def test_poisson_asks_each_by_itself_with_one_chance_whoever_else_is_there():
    roster = Roster.of([0, *[1] * 100])
    able, few = np.arange(1, 101), np.arange(1, 51)
    asked = [cohort("poisson", roster, 20, able=able, number=n) for n in range(1, 1001)]
    times = np.bincount(np.concatenate(asked), minlength=101)
    assert times[0] == 0
    # 200 of 1,000, give or take five standard deviations.
    assert np.abs(times[1:] - 200).max() < 5 * math.sqrt(1000 * 0.2 * 0.8)
    sizes = np.array([len(one) for one in asked])
    assert sizes.var() == pytest.approx(16, rel=0.2)
    away = [len(cohort("poisson", roster, 20, able=few, number=n)) for n in range(1, 1001)]
    assert np.mean(away) == pytest.approx(10, rel=0.1)
    assert len(cohort("poisson", roster, 100, able=able)) == 100
