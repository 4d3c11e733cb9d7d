import numpy as np
import pytest

from disdel.data import scaling
from disdel.data.scaling import scaling_of

CLASSES = np.array([0, 1, 0, 1], np.int32)
NUMBERS = np.array([1.0, 2.0, 3.0, 6.0], np.float32)


def test_features_are_scaled_one_by_one(monkeypatch):
    monkeypatch.setattr(scaling, "_BLOCK_BYTES", 48)  # two rows at a time
    x = np.array([[1, 5, 1e6], [2, 5, 1e6 + 2], [3, 5, 1e6], [6, 5, 1e6 + 2]], np.float32)
    found = scaling_of(x, CLASSES)
    assert found.mean == pytest.approx((3, 5, 1e6 + 1))
    # A constant column, and one whose deviation is what float32 leaves beside its mean.
    assert found.deviation == pytest.approx((np.std([1, 2, 3, 6]), 1, 1))
    assert (found.target_mean, found.target_deviation) == ((0,), (1,))


def test_a_tiny_deviation_counts_and_a_vanishing_one_does_not():
    x = np.array([[1e-9, 0], [3e-9, 0], [1e-9, 0], [3e-9, 1e-38]], np.float32)
    assert scaling_of(x, CLASSES).deviation == pytest.approx((1e-9, 1))


def test_the_last_axis_is_kept():
    x = np.stack([np.full((4, 5), 1), np.full((4, 5), 3)], axis=-1).astype(np.float32)
    assert scaling_of(x, CLASSES).mean == (1, 3)


def test_very_wide_samples_have_one_mean():
    x = np.tile(np.array([[1], [3]], np.float32), (2, 10_000))
    assert (scaling_of(x, CLASSES).mean, scaling_of(x, CLASSES).deviation) == ((2,), (1,))


def test_numbers_to_predict_are_scaled_and_images_are_not():
    images = np.zeros((4, 8, 8, 1), np.uint8)
    assert scaling_of(images, CLASSES) is None
    found = scaling_of(images, NUMBERS)
    assert (found.mean, found.deviation) == ((), ())
    assert found.target_mean == (3,)
    assert found.target_deviation == (pytest.approx(np.std(NUMBERS)),)
