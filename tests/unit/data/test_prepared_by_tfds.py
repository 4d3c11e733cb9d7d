"""Data sets that TFDS wrote itself, in both of its file formats."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest

from disdel.data import describe_dataset, list_datasets, load_arrays
from disdel.errors import DatasetError

pytestmark = pytest.mark.framework

# A process of its own, as a user's would be.
WRITE = """
import sys
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets import features as f

folder = sys.argv[1]
pixel = np.zeros((3, 2, 1), np.uint8)
FEATURES = {
    "shapes": {
        "id": f.Text(), "picture": f.Image(shape=(3, 2, 1)), "kind": f.ClassLabel(names=["a", "b"])
    },
    "points": {"at": f.Tensor(shape=(2,), dtype=np.float64), "kind": f.ClassLabel(num_classes=2)},
    "varied": {"image": f.Image(shape=(None, None, 1)), "label": f.ClassLabel(num_classes=2)},
    "untold": {"image": f.Image(shape=(3, 2, 1)), "note": f.Text()},
}

class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.2.3")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=f.FeaturesDict(FEATURES[self.name]))

    def _split_generators(self, _):
        if self.name == "points":
            return {"train": self._rows(5), "validation": self._rows(2)}
        return {"train": self._rows(10)}

    def _rows(self, count):
        for i in range(count):
            every = {
                "id": f"n{i}", "picture": pixel + i, "image": pixel + i, "note": "",
                "at": np.array([i, -i], np.float64), "kind": i % 2, "label": i % 2,
            }
            yield i, {key: every[key] for key in FEATURES[self.name]}

    def _generate_examples(self):
        raise NotImplementedError

tfds.disable_progress_bar()
for file_format in ("tfrecord", "array_record"):
    for Toy.name in FEATURES:
        Toy(data_dir=f"{folder}/{file_format}", file_format=file_format).download_and_prepare()
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    subprocess.run([sys.executable, "-c", WRITE, str(folder)], capture_output=True, check=True)
    return folder


@pytest.fixture(params=["tfrecord", "array_record"])
def data_dir(request, prepared, tmp_path):
    return shutil.copytree(prepared / request.param, tmp_path / "data")


@pytest.mark.usefixtures("tfds_here")
def test_an_image_set_is_found_by_type_and_a_test_split_held_out(data_dir):
    spec = describe_dataset("shapes", data_dir)
    assert (spec.version, spec.input_shape, spec.input_dtype) == ("1.2.3", (3, 2, 1), "uint8")
    assert (spec.train_samples, spec.test_samples, spec.held_out) == (8, 2, True)
    assert spec.class_names == ("a", "b")
    arrays = load_arrays("shapes", data_dir)
    assert arrays.spec == spec
    seen = np.concatenate([arrays.train_x, arrays.test_x])
    assert sorted(seen[:, 0, 0, 0]) == list(range(10))
    assert (seen == seen[:, :1, :1]).all()
    labels = np.concatenate([arrays.train_y, arrays.test_y])
    assert (labels == seen[:, 0, 0, 0] % 2).all()
    assert sorted(arrays.test_y) == [0, 1]
    assert describe_dataset("shapes:1.2.3", data_dir) == spec


@pytest.mark.usefixtures("tfds_here")
def test_a_set_of_arrays_becomes_float32_and_validation_serves_as_no_test(data_dir):
    arrays = load_arrays("points", data_dir)
    assert arrays.spec.input_shape == (2,)
    assert arrays.spec.input_dtype == "float32"
    assert arrays.spec.held_out
    assert arrays.train_x.dtype == np.float32
    assert sorted([*arrays.train_x[:, 1], *arrays.test_x[:, 1]]) == [-4, -3, -2, -1, 0]
    assert len(arrays.test_x) == arrays.spec.test_samples == 1
    assert arrays.validation_x[:, 1].tolist() == [0, -1]
    assert arrays.spec.validation_samples == 2
    assert len(arrays.validation_y) == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [("varied", "vary in shape"), ("untold", "its features are image: Image, note: Text")],
)
def test_what_cannot_be_trained_on_is_refused_with_the_reason(data_dir, name, reason):
    for use in (describe_dataset, load_arrays):
        with pytest.raises(DatasetError, match=reason):
            use(name, data_dir)


def test_prepared_sets_are_listed_with_their_problems(data_dir):
    rows = {row.name: row for row in list_datasets(data_dir)}
    assert sorted(rows) == ["digits", "points", "shapes", "untold", "varied"]
    assert rows["shapes"].state == "prepared"
    assert rows["shapes"].spec == describe_dataset("shapes", data_dir)
    assert rows["varied"].spec is None
    assert "vary in shape" in rows["varied"].problem


@pytest.mark.usefixtures("tfds_here")
def test_a_cache_for_other_data_is_rebuilt(data_dir):
    load_arrays("points", data_dir)
    info = data_dir / "points" / "1.2.3" / "dataset_info.json"
    cached = info.with_name("disdel-arrays") / "train_x.npy"
    before = cached.stat().st_ino
    load_arrays("points", data_dir)
    assert cached.stat().st_ino == before
    info.write_text(info.read_text() + "\n")
    load_arrays("points", data_dir)
    assert cached.stat().st_ino != before


def test_damaged_files_end_in_an_error_and_leave_nothing(data_dir):
    folder = data_dir / "points" / "1.2.3"
    for path in folder.glob("*record-*"):
        path.unlink()
    before = sorted(data_dir.rglob("*"))
    with pytest.raises(DatasetError):
        load_arrays("points", data_dir)
    assert sorted(data_dir.rglob("*")) == before
