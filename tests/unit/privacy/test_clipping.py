"""Clipped updates: the bound holds for what is stored, and follows the norms if it is adaptive."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.errors import UpdateRefused, UsageError
from disdel.privacy.clipping import AdaptiveClip, clip, rounding_norm
from disdel.privacy.noise import Noise

KEY = bytes(32)
STEP = 2.0**-10


@given(
    seed=st.integers(0, 2**32 - 1),
    elements=st.integers(1, 400),
    bound=st.floats(0.1, 100),
    scale=st.floats(1e-3, 1e6),
)
def test_what_is_stored_is_within_the_bound(seed, elements, bound, scale):
    update = np.random.default_rng(seed).normal(size=elements) * scale
    rounding = rounding_norm(elements, STEP / 100)
    clipped = clip(float(np.linalg.norm(update)), bound, rounding=rounding)
    stored = np.rint(update * clipped.factor / (STEP / 100)) * (STEP / 100)
    assert np.linalg.norm(stored) <= bound
    assert clipped.within == (float(np.linalg.norm(update)) <= bound)


def test_an_update_within_the_bound_stays_as_it_is():
    assert clip(1.0, 1.0).factor == 1
    assert clip(0.0, 1.0).factor == 1


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_what_no_factor_bounds_is_refused(norm):
    with pytest.raises(UpdateRefused, match="nothing can bound"):
        clip(norm, 1.0)


def test_a_bound_below_the_rounding_is_refused():
    with pytest.raises(UsageError, match="raise --dp-clip"):
        clip(1.0, 1e-3, rounding=rounding_norm(1_000_000, STEP))


def test_the_count_takes_its_part_of_the_noise():
    assert AdaptiveClip(count_noise=5).update_noise(1) == pytest.approx(1.005038, abs=1e-6)
    assert AdaptiveClip.for_cohort(100).count_noise == 5
    assert AdaptiveClip.for_cohort(100).update_noise(0) == 0


@pytest.mark.parametrize("noise", [1.0, 2.0])
def test_too_few_clients_for_a_count_are_refused_with_how_many_do(noise):
    with pytest.raises(UsageError, match=f"at least {10 * noise + 1:g} clients"):
        AdaptiveClip.for_cohort(10).update_noise(noise)
    assert AdaptiveClip.for_cohort(int(10 * noise + 1)).update_noise(noise) > noise


def test_the_bound_goes_to_the_quantile_of_the_norms():
    norms = np.random.default_rng(0).lognormal(size=1000)
    policy, bound = AdaptiveClip(quantile=0.3, rate=0.2, count_noise=1), 100.0
    for number in range(200):
        halves = float(np.where(norms <= bound, 0.5, -0.5).sum())
        bound = policy.next_bound(bound, policy.share_within(halves, 1000, Noise(KEY, f"{number}")))
    assert bound == pytest.approx(np.quantile(norms, 0.3), rel=0.02)


def test_the_share_is_of_the_clients_expected():
    """A client that has not answered counts as half: it pulls the bound nowhere."""
    quiet, loud = AdaptiveClip(count_noise=1e-6), AdaptiveClip(count_noise=2)
    noise = Noise(KEY, "count")
    assert quiet.share_within(5.0, 10, noise) == pytest.approx(1, abs=1e-5)
    assert quiet.share_within(0.0, 10, noise) == pytest.approx(0.5, abs=1e-5)
    [normal] = noise.normals(0, 1)
    assert loud.share_within(0.0, 10, noise) == pytest.approx(0.5 + 0.2 * normal, abs=1e-6)
