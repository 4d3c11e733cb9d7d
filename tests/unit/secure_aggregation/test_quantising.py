"""The worst case of a sum, before anybody trains."""

import pytest

from disdel.errors import UsageError
from disdel.secure_aggregation.quantising import Grid


def test_what_overflowed_elsewhere_fits_or_is_refused_with_its_numbers():
    # Ten nodes whose sum left 32 bits.
    with pytest.raises(UsageError, match=r"10 updates of weight 10 together.*32 bits hold less"):
        Grid(exponent=26, largest=8, clients=10, weight=10, bits=32).check()
    Grid(exponent=26, largest=8, clients=10, weight=10).check()
    # A hundred clients of 60,000 samples each, and 2,100 of ten.
    for clients, samples in ((100, 60_000), (2_100, 10)):
        with pytest.raises(UsageError, match=f"{clients} updates of weight"):
            Grid(exponent=22, largest=8, clients=clients, weight=clients * samples, bits=32).check()
        Grid(exponent=22, largest=8, clients=clients, weight=clients * samples).check()


def test_the_worst_case_counts_roundings():
    fits = Grid(exponent=0, largest=1, clients=2, weight=6, bits=4)
    assert fits.worst == 7
    fits_not = Grid(exponent=0, largest=1, clients=2, weight=7, bits=4)
    with pytest.raises(UsageError, match="may add up to 8"):
        fits_not.check()


def test_units_that_are_too_coarse_are_refused():
    assert Grid(exponent=28, largest=1, clients=100, weight=100).error == 2.0**-29
    with pytest.raises(UsageError, match="may be off by"):
        Grid(exponent=10, largest=1, clients=100, weight=100).check()
