"""Data sets are imported without TensorFlow, into the files that it would write."""

import numpy as np
import pytest

from disdel.data import import_dataset, load_arrays

pytestmark = pytest.mark.framework

# What tf.io.TFRecordWriter of TensorFlow 2.21 writes for b"" and b"abc".
WRITTEN = bytes.fromhex("000000000000000029039807d8ea82a20300000000000000b099490e6162636e57f121")


def test_records_are_those_of_tensorflow(tmp_path):
    from disdel.data.tfds.records import write_records

    write_records(tmp_path / "records", [b"", b"abc"])
    assert (tmp_path / "records").read_bytes() == WRITTEN


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [("mine", (8, 8, 1), np.uint8), ("mine", (3,), np.float32), ("mnist", (28, 28, 1), np.uint8)],
)
def test_an_import_needs_no_tensorflow(tmp_path, monkeypatch, name, shape, dtype):
    (tmp_path / "without").mkdir()
    (tmp_path / "without/tensorflow.py").write_text("raise ImportError('there is none')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))
    x = np.random.default_rng(0).integers(0, 200, (20, *shape)).astype(dtype)
    y = np.arange(20) % 10
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])
    spec = import_dataset(name, tmp_path / "mine.npz", tmp_path / "data")
    assert (spec.train_samples, spec.test_samples, spec.classes) == (20, 10, 10)
    assert (np.asarray(load_arrays(name, tmp_path / "data").train_x) == x).all()
