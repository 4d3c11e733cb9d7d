import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.errors import UsageError
from disdel.runtimes.rates import rate_factors
from disdel.types import RateSchedule

TOTAL = 200
schedules = st.builds(
    RateSchedule,
    shape=st.sampled_from(["constant", "cosine", "linear"]),
    warmup=st.one_of(st.floats(0, 0.9), st.integers(1, 150).map(float)),
)


@given(schedule=schedules, cuts=st.sets(st.integers(0, TOTAL), max_size=10))
def test_the_same_in_one_segment_or_ten(schedule, cuts):
    whole = rate_factors(schedule, 0, TOTAL, TOTAL)
    bounds = sorted(cuts | {0, TOTAL})
    pieces = [rate_factors(schedule, a, b, TOTAL) for a, b in itertools.pairwise(bounds)]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()


@given(schedule=schedules)
def test_it_rises_to_one_and_falls_from_there_without_a_jump(schedule):
    factors = rate_factors(schedule, 0, TOTAL, TOTAL)
    top = int(factors.argmax())
    assert factors[top] == 1
    assert np.all(factors > 0)
    assert np.all(np.diff(factors[: top + 1]) > 0)
    assert np.all(np.diff(factors[top:]) <= 0)
    warmup = math.ceil(schedule.warmup * (TOTAL if schedule.warmup < 1 else 1))
    steepest = max(1 / max(1, warmup), math.pi / 2 / (TOTAL - warmup))
    assert np.all(np.abs(np.diff(factors)) <= steepest + 1e-6)


def test_hand_computed():
    schedule = RateSchedule(shape="linear", warmup=0.2)
    expected = [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    assert rate_factors(schedule, 0, 10, 10) == pytest.approx(expected)
    half = rate_factors(RateSchedule(shape="cosine"), 5, 6, 10)
    assert half == pytest.approx([0.5])


@given(schedule=schedules, clients=st.integers(1, 1000))
def test_it_grows_with_the_clients_as_asked(schedule, clients):
    alone = rate_factors(schedule, 0, TOTAL, TOTAL)
    for scale, growth in (("none", 1), ("sqrt", math.sqrt(clients)), ("linear", clients)):
        scaled = dataclasses.replace(schedule, scale=scale)
        found = rate_factors(scaled, 0, TOTAL, TOTAL, clients=clients)
        assert found == pytest.approx(growth * alone)


def test_no_schedule_changes_nothing():
    assert set(rate_factors(RateSchedule(), 3, 40, 40)) == {1}


@pytest.mark.parametrize("warmup", [-1, 1.5, float("nan"), float("inf")])
def test_a_warmup_that_is_none(warmup):
    with pytest.raises(UsageError, match="--warmup must be"):
        RateSchedule(warmup=warmup)


def test_an_unknown_shape():
    with pytest.raises(UsageError, match="--schedule must be constant or cosine or linear"):
        RateSchedule(shape="steps")
