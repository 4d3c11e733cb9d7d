"""Sums of updates: the same bits in any order and grouping, and close to the mean in float64."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disdel.errors import UpdateRefused
from disdel.strategies.exact_sum import MOST_CHANGE, ExactSum, exponent_for, mean_of

NUMBERS = st.floats(-(2.0**26), 2.0**26, width=32)
UPDATES = st.lists(st.tuples(NUMBERS, st.integers(1, 60_000)), min_size=1, max_size=12)


def summed(before, updates, exponent):
    total = ExactSum(before, exponent)
    for after, weight in updates:
        total.add(after, weight)
    return total


def mean(before, updates, groups=1):
    """The mean of updates, summed in so many containers."""
    exponent = exponent_for([weight for _, weight in updates])
    parts = [summed(before, updates[i::groups], exponent) for i in range(groups)]
    sums = np.add.reduce([part.sums for part in parts])
    weight = math.fsum(part.weight for part in parts)
    flat = np.concatenate([tensor.reshape(-1) for tensor in before.values()])
    return mean_of(flat, sums, exponent=exponent, weight=weight)


def scalars(values):
    return [({"w": np.array([value], np.float32)}, weight) for value, weight in values]


ZERO = {"w": np.zeros(1, np.float32)}


@given(UPDATES, st.randoms(use_true_random=False), st.integers(1, 4))
@settings(deadline=None)
def test_order_and_grouping_change_no_bit(values, random, groups):
    shuffled = random.sample(values, len(values))
    one, other = mean(ZERO, scalars(values)), mean(ZERO, scalars(shuffled), groups)
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("largest", [1e-30, 0.1, 2.0**14, 2.0**15, 2.0**16, 2.0**26])
def test_whichever_way_is_faster_a_change_is_rounded_to_the_nearest_half_to_even(largest):
    drawn = np.random.default_rng(0).uniform(-largest, largest, 1000)
    halves = np.array([0.5, 1.5, -0.5, -2.5]) * 2.0**-34
    after = np.concatenate([drawn, halves, [largest, -largest]]).astype(np.float32)
    total = ExactSum({"w": np.zeros_like(after)}, 34)
    total.add({"w": after}, 1)
    wanted = [round(float(value) * 2**34) for value in after]
    assert total.sums.tolist() == wanted


def test_what_floats_would_lose_is_kept_in_any_order():
    for values in ([1e8, 1, -1e8], [-1e8, 1e8, 1], [1, 1e8, -1e8]):
        assert mean(ZERO, scalars([(value, 1) for value in values])) == [np.float32(1 / 3)]


@pytest.mark.parametrize("samples", [(1, 3), (600, 600), (10, 60_000)])
def test_a_mean_is_weighted_by_samples(samples):
    values = [(np.float32(0.25), samples[0]), (np.float32(-4.0), samples[1])]
    wanted = np.average([value for value, _ in values], weights=samples)
    assert mean(ZERO, scalars(values))[0] == pytest.approx(wanted, rel=1e-7)


def test_a_mean_of_networks_is_that_of_float64():
    random = np.random.default_rng(3)
    before = {"w": random.normal(0, 0.05, 100_000).astype(np.float32)}
    weights = random.integers(10, 700, 100).tolist()
    updates = [
        ({"w": before["w"] + random.normal(0, 1e-3, 100_000).astype(np.float32)}, weight)
        for weight in weights
    ]
    wanted = np.average([np.float64(after["w"]) for after, _ in updates], 0, weights)
    found = mean(before, updates).astype(np.float64)
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 1e-7
    # The sum itself is finer than what float32 then keeps of it.
    exponent = exponent_for(weights)
    total = summed(before, updates, exponent)
    fine = before["w"] + total.sums * math.ldexp(1 / total.weight, -exponent)
    assert np.abs(fine - wanted).max() < 1e-9


def test_fractions_may_be_weights():
    weights = [0.1, 0.2, 0.7]
    values = list(zip(np.float32([1, 2, 4]), weights, strict=True))
    assert mean(ZERO, scalars(values))[0] == pytest.approx(3.3, rel=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_states_keep_their_dtype(dtype):
    before = {"w": np.array([[1.0, 2.0]], dtype)}
    found = mean(before, [({"w": np.array([[2.0, 4.0]], dtype)}, 1)])
    assert found.dtype == dtype
    assert found.tolist() == [2.0, 4.0]


def test_counters_take_the_largest_and_statistics_the_mean():
    before = {"count": np.array(3), "flag": np.array([False]), "mean": np.zeros(1, np.float32)}
    made = [
        {"count": np.array(n), "flag": np.array([n > 5]), "mean": np.array([m], np.float32)}
        for n, m in ((7, 0.0), (4, 4.0))
    ]
    exponent = exponent_for([10, 30])
    total = summed(before, list(zip(made, (10, 30), strict=True)), exponent)
    assert total.largest["count"] == 7
    assert total.largest["flag"].tolist() == [True]
    assert mean_of(np.zeros(1, np.float32), total.sums, exponent=exponent, weight=40) == [3.0]


def test_infinities_that_nobody_trains_stay():
    mask = np.array([0, -np.inf], np.float32)
    assert mean({"mask": mask}, [({"mask": mask}, 3)]).tolist() == [0, -np.inf]


BLOCKS = (1 << 15) + 7


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (np.nan, "b is no longer finite"),
        (np.inf, "b is no longer finite"),
        (-2 * MOST_CHANGE, r"b changed by -2\.68e\+08, and sums take changes up to 1\.34e\+08"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(odd, said):
    before = {"a": np.zeros(BLOCKS, np.float32), "b": np.zeros(BLOCKS, np.float32)}
    good = {name: np.full(BLOCKS, 0.5, np.float32) for name in before}
    bad = {name: np.full(BLOCKS, 7.0, np.float32) for name in before}
    bad["b"][-1] = odd
    total = ExactSum(before, exponent_for([1, 1]))
    total.add(good, 1)
    sums = total.sums.copy()
    with pytest.raises(UpdateRefused, match=said):
        total.add(bad, 1)
    assert total.sums.tobytes() == sums.tobytes()
    assert (total.updates, total.weight) == (1, 1)


def test_the_largest_changes_of_all_clients_fit():
    weights = [60_000] * 1000
    total = ExactSum(ZERO, exponent_for(weights))
    for weight in weights:
        total.add({"w": np.array([MOST_CHANGE], np.float32)}, weight)
    assert mean_of(ZERO["w"], total.sums, exponent=total.exponent, weight=total.weight) == [
        MOST_CHANGE
    ]


@pytest.mark.parametrize(
    "after",
    [
        {},
        {"v": np.zeros(1, np.float32)},
        {"w": np.zeros(2, np.float32)},
        {"w": np.zeros(1, np.float64)},
    ],
)
def test_other_tensors_are_refused(after):
    with pytest.raises(UpdateRefused, match="is not the tensor that the round began with"):
        ExactSum(ZERO, 30).add(after, 1)


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(UpdateRefused, match="must be a positive number"):
        ExactSum(ZERO, 30).add(ZERO, weight)
