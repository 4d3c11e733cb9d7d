"""Checksums of updates tell apart what differs, wherever it does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.worker.checksums import checksum_of

# Two whole rows of the table and a rest, and fewer than a row.
SIZES = (5000, 7)


def tensors():
    drawn = np.random.default_rng(3)
    return [drawn.normal(size=size).astype(np.float32) for size in SIZES]


@given(st.integers(0, 1), st.data())
def test_one_bit_that_differs_shows(which, data):
    changed = tensors()
    at = data.draw(st.integers(0, SIZES[which] - 1))
    changed[which].view(np.uint32)[at] ^= 1 << data.draw(st.integers(0, 31))
    assert checksum_of(changed) != checksum_of(tensors())


@given(st.integers(0, SIZES[0] - 1), st.integers(0, SIZES[0] - 1))
def test_two_numbers_that_have_changed_places_show(one, other):
    changed = tensors()
    changed[0][[one, other]] = changed[0][[other, one]]
    assert (checksum_of(changed) == checksum_of(tensors())) == (one == other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int8, np.bool_])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (70, 90), (3, 4096)])
def test_tensors_of_any_shape_and_layout_have_one(dtype, shape):
    values = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    plain = checksum_of([values, values])
    assert plain == checksum_of([values.T.copy().T, values])
    assert len(plain) == 8
    if values.size:
        assert plain != checksum_of([values, values == 0])
