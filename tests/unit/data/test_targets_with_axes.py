"""Targets with axes from an archive to the arrays that are trained on, also read again by TFDS."""

import shutil

import numpy as np
import pytest

from disdel.controller.inference.inputs import read_inputs
from disdel.data import cache, describe_dataset, import_dataset, load_arrays
from disdel.data.holdout import hold_out
from disdel.data.sources import ReadOptions
from disdel.errors import DatasetError, UsageError

pytestmark = pytest.mark.usefixtures("tfds_here")

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (20, 9, 8), np.uint8)
MASKS = np.array([0, 128, 255], np.uint8)[X // 90]
POINTS = RNG.normal(size=(20, 2)).astype(np.float32)
TOKENS = RNG.integers(0, 2**40, (20, 6))


def imported(tmp_path, x, y, **options):
    np.savez(tmp_path / "s.npz", x=x, y=y)
    told = []
    options = ReadOptions(tell=told.append, **options)
    return import_dataset("s", tmp_path / "s.npz", tmp_path / "data", options=options), told


@pytest.mark.framework
@pytest.mark.parametrize(
    ("x", "y", "target", "names"),
    [
        (X, MASKS, ((9, 8), 3), ("0", "128", "255")),
        (X, MASKS[..., np.newaxis], ((9, 8), 3), ("0", "128", "255")),
        (X, POINTS, ((2,), 0), ()),
        (TOKENS, TOKENS % 3, ((6,), 3), ()),
    ],
    ids=["mask", "mask with a channel", "points", "tags"],
)
def test_they_are_imported_and_read_again(tmp_path, x, y, target, names):
    spec, told = imported(tmp_path, x, y)
    assert ((spec.target.shape, spec.classes), spec.class_names) == (target, names)
    assert any("labels" in line for line in told if "20 samples" in line)
    if y.ndim > 3:
        assert any("9×8×1 are taken as 9×8" in line for line in told)
    arrays = load_arrays("s", tmp_path / "data")
    kept, held = hold_out(np.zeros(20, np.float32))
    wanted = y[..., 0] if y.ndim > 3 else y
    wanted = np.searchsorted([0, 128, 255], wanted) if names else wanted
    np.testing.assert_array_equal(arrays.train_y, wanted[kept])
    np.testing.assert_array_equal(arrays.test_y, wanted[held])
    assert arrays.train_y.dtype == spec.target.dtype
    # What TFDS has of it, with the import's record, is the same.
    [folder] = (tmp_path / "data").rglob(cache.FOLDER)
    shutil.rmtree(folder)
    assert describe_dataset("s", tmp_path / "data").targets == spec.targets
    again = load_arrays("s", tmp_path / "data")
    assert (again.spec, again.digest) == (spec, arrays.digest)
    if spec.scaling is not None and not spec.classes:
        np.testing.assert_allclose(spec.scaling.target_mean, wanted[kept].mean(0), rtol=1e-5)


@pytest.mark.framework
def test_new_samples_have_targets_alike(tmp_path):
    spec, _ = imported(tmp_path, X, MASKS)
    np.savez(tmp_path / "new.npz", x=X[:3], y=MASKS[:3, ..., np.newaxis])
    inputs = read_inputs(tmp_path / "new.npz", spec)
    np.testing.assert_array_equal(inputs.y, np.searchsorted([0, 128, 255], MASKS[:3]))
    np.savez(tmp_path / "new.npz", x=X[:3], y=MASKS[:3, 0])
    with pytest.raises(UsageError, match=r"shape \(8,\) a sample, and those of s have \(9, 8\)"):
        read_inputs(tmp_path / "new.npz", spec)


@pytest.mark.parametrize(
    ("y", "options", "told"),
    [
        (TOKENS % 3 - 1, {}, "labels go down to -1, .* --regression .* --classification"),
        (np.eye(3)[TOKENS % 3], {}, r"which is 6×3 a sample, .* one-hot: give y.argmax\(axis=-1\)"),
        (np.where(POINTS > 9, 0, np.nan), {}, "nan is among them, at sample 0"),
        (np.arange(40).reshape(20, 2), {}, "40 different whole numbers in 40 labels"),
    ],
)
def test_what_could_be_meant_otherwise_is_asked(tmp_path, y, options, told):
    with pytest.raises(DatasetError, match=told):
        imported(tmp_path, TOKENS, y, **options)


@pytest.mark.framework
def test_one_hot_rows_may_be_numbers_if_one_says_so(tmp_path):
    spec, _ = imported(tmp_path, X, np.eye(3)[X[:, 0, 0] % 3], targets="numbers")
    assert (spec.target.kind, spec.target.shape) == ("number", (3,))
