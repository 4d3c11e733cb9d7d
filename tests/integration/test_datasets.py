"""Imports of real data sets, where they are at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from disdel.data import import_dataset, load_arrays

pytestmark = pytest.mark.framework

DATA = Path(
    os.environ.get("DISDEL_TEST_DATA") or Path(__file__).resolve().parents[2] / "../shared/data"
)

READ = """
import sys
import numpy as np
import tensorflow_datasets as tfds
name, data_dir, out = sys.argv[1:]
splits = tfds.load(name, data_dir=data_dir, download=False, batch_size=-1)
splits = {name: tfds.as_numpy(split) for name, split in splits.items()}
np.savez(out, **{f"{n}.{key}": split[key] for n, split in splits.items() for key in split})
"""


def at_hand(file):
    if not (DATA / file).is_file():
        pytest.skip(f"real data is not at hand: {(DATA / file).resolve()}")
    return DATA / file


def tfds_load(name, data_dir, out):
    command = [sys.executable, "-c", READ, name, str(data_dir), str(out)]
    subprocess.run(command, capture_output=True, check=True)
    return np.load(out)


def test_mnist_is_the_catalogs_after_an_import(tmp_path):
    source = np.load(at_hand("mnist.npz"))
    spec = import_dataset("mnist", DATA / "mnist.npz", tmp_path / "data")
    assert (spec.version, spec.train_samples, spec.test_samples) == ("3.0.1", 60_000, 10_000)
    arrays = load_arrays("mnist", tmp_path / "data")
    back = tfds_load("mnist", tmp_path / "data", tmp_path / "read.npz")
    for split, x, y in (
        ("train", arrays.train_x, arrays.train_y),
        ("test", arrays.test_x, arrays.test_y),
    ):
        assert np.array_equal(x, source[f"x_{split}"])
        assert np.array_equal(y, source[f"y_{split}"])
        assert np.array_equal(back[f"{split}.image"], x)
        assert np.array_equal(back[f"{split}.label"], y)


def test_binary_alpha_digits_keep_their_one_split_and_hold_out_samples(tmp_path):
    source = np.load(at_hand("binary_alpha_digits.npz"))
    spec = import_dataset(
        "binary_alpha_digits", DATA / "binary_alpha_digits.npz", tmp_path / "data"
    )
    assert (spec.train_samples, spec.test_samples, spec.held_out) == (1124, 280, True)
    assert spec.class_names[10:13] == ("A", "B", "C")
    back = tfds_load("binary_alpha_digits", tmp_path / "data", tmp_path / "read.npz")
    assert np.array_equal(back["train.label"], source["y_train"])
    arrays = load_arrays("binary_alpha_digits", tmp_path / "data")
    assert set(np.bincount(arrays.test_y, minlength=36)) == {7, 8}
