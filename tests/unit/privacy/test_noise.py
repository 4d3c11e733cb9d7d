"""Noise: as much as is said, the same wherever it is made, and never the same for two sums."""

import math
import statistics

import numpy as np
import pytest

from disdel.errors import UsageError
from disdel.privacy.noise import (
    Noise,
    check_deviation,
    key_of_seed,
    new_key,
    share_deviation,
    sum_deviation,
)

KEY = bytes(range(32))


def test_the_noise_of_the_mean_is_added_once():
    """z=1, C=.5, ten clients: .05 in the mean, whoever adds it."""
    assert sum_deviation(1, 0.5) / 10 == pytest.approx(0.05)
    share = share_deviation(1, 0.5, 10)
    assert share * math.sqrt(10) / 10 == pytest.approx(0.05)
    step = 2.0**-20
    drawn = [Noise(KEY, f"client {i}").integers(0, 50_000, share / step) * step for i in range(10)]
    assert np.std(sum(drawn) / 10) == pytest.approx(0.05, rel=0.02)


def test_shares_of_those_who_must_answer_are_enough():
    assert share_deviation(1, 1, 4) * math.sqrt(4) == 1
    assert share_deviation(1, 1, 4) * math.sqrt(9) > 1


def test_numbers_are_normal():
    from scipy import stats

    drawn = Noise(KEY, "round 1").normals(0, 400_000)
    assert stats.kstest(drawn, "norm").pvalue > 0.001
    assert abs(drawn.mean()) < 5 / math.sqrt(drawn.size)
    assert np.abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 5 / math.sqrt(drawn.size)
    assert 4 < np.abs(drawn).max() < 9.5


@pytest.mark.parametrize(("first", "count"), [(0, 1), (8191, 2), (100, 20_000), (8192, 0)])
def test_a_number_depends_on_its_place_alone(first, count):
    whole = Noise(KEY, "round 1").normals(0, 30_000)
    assert np.array_equal(Noise(KEY, "round 1").normals(first, count), whole[first:][:count])


def test_other_keys_and_labels_have_other_numbers():
    drawn = [
        tuple(Noise(key, label).normals(0, 4))
        for key in (KEY, key_of_seed(0), key_of_seed(1), new_key(), new_key())
        for label in ("round 1", "round 2", "round 1:0")
    ]
    assert len(set(drawn)) == len(drawn)
    assert key_of_seed(1) == key_of_seed(1)


def test_rounded_noise_is_the_noise_rounded():
    noise = Noise(KEY, "round 1")
    exact, rounded = 3.7 * noise.normals(0, 1000), noise.integers(0, 1000, 3.7)
    assert rounded.dtype == np.int64
    assert np.abs(exact - rounded).max() <= 0.5
    assert not Noise(KEY, "x").integers(0, 100, 0.0).any()
    assert statistics.stdev(Noise(KEY, "x").integers(0, 10_000, 2.0**40).tolist()) > 2.0**39


def test_noise_that_fixed_point_cannot_carry_is_refused():
    check_deviation(1.0, 2.0**-30)
    check_deviation(0.0, 2.0**-30, shared=True)
    with pytest.raises(UsageError, match="does not fit"):
        check_deviation(2.0**30, 2.0**-30)
    with pytest.raises(UsageError, match="no Gaussian any more"):
        check_deviation(1.0, 0.25, shared=True)
