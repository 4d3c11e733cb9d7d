import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from disdel.errors import AggregationError
from disdel.strategies.aggregation import weighted_mean

floats = npst.arrays(
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    shape=npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    elements=st.floats(-1000, 1000, width=16),
)


def test_hand_computed():
    updates = [np.array([1.0, 2.0], np.float32), np.array([4.0, -2.0], np.float32)]
    assert weighted_mean(updates, [1, 3]).tolist() == [3.25, -1.0]


@given(update=floats, weights=st.lists(st.integers(1, 10**9), min_size=1, max_size=6))
def test_copies_of_one_part_average_to_it(update, weights):
    mean = weighted_mean([update] * len(weights), weights)
    assert mean.dtype == update.dtype
    assert mean.shape == update.shape
    np.testing.assert_allclose(mean, update, rtol=1e-12, atol=0)


@given(update=floats, data=st.data())
def test_the_mean_lies_between_the_parts(update, data):
    other = update + update.dtype.type(1)
    weight = data.draw(st.integers(1, 1000))
    mean = weighted_mean([update, other], [weight, 1000])
    slack = np.abs(update) * np.finfo(update.dtype).eps
    assert np.all(mean >= update - slack)
    assert np.all(mean <= other + slack)


def test_counters_are_not_weights():
    iterations = [np.array(3, np.int64), np.array(5, np.int64)]
    mean = weighted_mean(iterations, [1, 1])
    assert mean == 5
    assert mean.dtype == np.int64


@pytest.mark.parametrize(
    ("updates", "weights", "told"),
    [
        ([], [], "0 updates"),
        ([np.zeros(2)], [1, 2], "1 updates cannot be averaged with 2 weights"),
        ([np.zeros(2), np.zeros(2)], [1, 0], "weights must be positive"),
        ([np.zeros(2), np.zeros(3)], [1, 1], "updates differ"),
        ([np.zeros(2, np.float32), np.zeros(2)], [1, 1], "updates differ"),
    ],
)
def test_what_does_not_average_is_refused(updates, weights, told):
    with pytest.raises(AggregationError, match=told):
        weighted_mean(updates, weights)
