import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.planner.margin import margin_mb

residuals = st.lists(st.floats(-500, 500), max_size=60)
rates = st.floats(1e-6, 0.5)
priors = st.floats(0, 500)


def test_without_residuals_it_is_the_prior():
    assert margin_mb([], miss_rate=1e-3, prior_mb=80) == pytest.approx(80)


def test_residuals_that_fit_make_it_narrow():
    widths = [margin_mb([5.0] * n, miss_rate=1e-3, prior_mb=80) for n in (1, 4, 16, 64, 998)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == pytest.approx(5.0, abs=0.1)


def test_with_enough_residuals_it_is_the_conformal_quantile():
    # With 999 residuals, a rate of 1 in 1,000 is the largest, and 1 in 100 the tenth from above.
    values = [float(value) for value in range(999)]
    assert margin_mb(values, miss_rate=1e-3, prior_mb=80) == 998
    assert margin_mb(values, miss_rate=1e-2, prior_mb=80) == 989


def test_extrapolation_meets_the_quantile_without_a_step():
    values = [float(value % 50) for value in range(999)]
    exact = margin_mb(values, miss_rate=1e-3, prior_mb=80)
    almost = margin_mb(values[:-1], miss_rate=1e-3, prior_mb=80)
    assert almost == pytest.approx(exact, abs=0.1)


@given(values=residuals, low=rates, high=rates, prior=priors)
def test_a_stricter_target_is_never_narrower(values, low, high, prior):
    low, high = sorted((low, high))
    strict = margin_mb(values, miss_rate=low, prior_mb=prior)
    assert strict >= margin_mb(values, miss_rate=high, prior_mb=prior)


@given(values=residuals, rate=rates, prior=priors, floor=st.floats(0, 100))
def test_it_is_never_below_its_floor(values, rate, prior, floor):
    assert margin_mb(values, miss_rate=rate, prior_mb=prior, floor_mb=floor) >= floor


@given(values=residuals, rate=rates, prior=priors, beyond=st.floats(0, 500))
def test_a_miss_never_narrows_it(values, rate, prior, beyond):
    before = margin_mb(values, miss_rate=rate, prior_mb=prior)
    after = margin_mb([*values, before + beyond], miss_rate=rate, prior_mb=prior)
    assert after >= before


@given(values=residuals, rate=rates, prior=priors)
def test_the_order_of_residuals_does_not_matter(values, rate, prior):
    assert margin_mb(values, miss_rate=rate, prior_mb=prior) == margin_mb(
        values[::-1], miss_rate=rate, prior_mb=prior
    )
