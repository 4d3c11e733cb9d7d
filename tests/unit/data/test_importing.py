"""Imports, read back by plain `tfds.load` in a process of its own."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from disdel.data import (
    ReadOptions,
    catalog_names,
    describe_dataset,
    import_dataset,
    importing,
    list_datasets,
    load_arrays,
    prepare_dataset,
)
from disdel.errors import DatasetError

pytestmark = pytest.mark.framework

# For each line of its input, a data set's name, its folder and where to put its arrays.
READ = """
import json, sys
import numpy as np
import tensorflow_datasets as tfds

def read(name, data_dir, out):
    arrays = {}
    for split, rows in tfds.load(name, data_dir=data_dir, download=False).items():
        rows = list(tfds.as_numpy(rows))
        for key in rows[0]:
            arrays[f"{split}.{key}"] = np.stack([row[key] for row in rows])
    pairs = tfds.load(name, split="train", data_dir=data_dir, as_supervised=True)
    arrays["supervised"] = np.array([y for _, y in tfds.as_numpy(pairs)])
    np.savez(out, **{key: a.astype("S") if a.dtype == object else a for key, a in arrays.items()})

for line in sys.stdin:
    read(*json.loads(line))
    print("read", flush=True)
"""


@pytest.fixture(autouse=True)
def _tfds_here(request):
    """But where all of it is tested."""
    if "any_format" not in request.node.name:
        request.getfixturevalue("tfds_here")


@pytest.fixture(scope="module")
def reader():
    """Plain TFDS in a process of its own, which imports it once."""
    with subprocess.Popen(
        [sys.executable, "-c", READ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield process


@pytest.fixture
def tfds_load(tmp_path, reader):
    def load(name, data_dir):
        out = tmp_path / "read.npz"
        reader.stdin.write(json.dumps([name, str(data_dir), str(out)]) + "\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "read\n"
        with np.load(out) as arrays:
            return dict(arrays)

    return load


def pixels(*shape):
    return np.random.RandomState(1).randint(0, 256, shape).astype(np.uint8)


def files_under(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def write_npz(folder, x, y):
    np.savez(folder / "set.npz", x_train=x[:-2], y_train=y[:-2], x_test=x[-2:], y_test=y[-2:])
    return folder / "set.npz"


def write_idx(folder, x, y):
    for split, part in (("train", slice(None, -2)), ("t10k", slice(-2, None))):
        for kind, array in (("images-idx3", x[part, ..., 0]), ("labels-idx1", y[part])):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            content = gzip.compress(header + array.astype(np.uint8).tobytes())
            (folder / f"{split}-{kind}-ubyte.gz").write_bytes(content)
    return folder


def write_zip_of_images(folder, x, y):
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for split, part in (("train", slice(None, -2)), ("test", slice(-2, None))):
            # Class folders are read in turn, so the samples of this test are in that order.
            for number, (image, label) in enumerate(zip(x[part], y[part], strict=True)):
                buffer = io.BytesIO()
                Image.fromarray(image[..., 0]).save(buffer, "PNG")
                archive.writestr(f"set/{split}/{label}/{number}.png", buffer.getvalue())
    return folder / "set.zip"


@pytest.mark.parametrize("write", [write_npz, write_idx, write_zip_of_images])
def test_images_of_any_format_come_back_from_tfds_and_from_the_cache(tmp_path, tfds_load, write):
    x, y = pixels(8, 6, 5, 1), np.array([0, 0, 1, 1, 2, 2, 0, 1])
    (tmp_path / "in").mkdir()
    data_dir = tmp_path / "data"
    spec = import_dataset("mine", write(tmp_path / "in", x, y), data_dir)
    assert (spec.train_samples, spec.test_samples, spec.held_out) == (6, 2, False)
    assert (spec.input_shape, spec.input_dtype, spec.classes) == ((6, 5, 1), "uint8", 3)
    arrays, back = load_arrays("mine", data_dir), tfds_load("mine", data_dir)
    assert arrays.spec == describe_dataset("mine", data_dir) == spec
    assert np.array_equal(back["train.image"], x[:-2])
    assert np.array_equal(back["train.label"], y[:-2])
    assert np.array_equal(back["test.image"], x[-2:])
    assert np.array_equal(back["supervised"], y[:-2])
    assert np.array_equal(arrays.train_x, x[:-2])
    assert np.array_equal(arrays.train_y, y[:-2])
    assert np.array_equal(arrays.test_x, x[-2:])
    assert np.array_equal(arrays.test_y, y[-2:])
    assert [row.state for row in list_datasets(data_dir)] == ["built in", "imported"]
    assert [path.name for path in data_dir.iterdir()] == ["mine"]


def test_a_table_gets_a_held_out_split_that_outlives_the_cache(tmp_path, tfds_load):
    rows = [f"{i or ''},{-i}.5,{'odd' if i % 2 else 'even'}" for i in range(10)]
    (tmp_path / "set.csv").write_text("a,b,class\n" + "\n".join(rows))
    options = ReadOptions(missing="mean")
    spec = import_dataset("mine", tmp_path / "set.csv", tmp_path / "data", options=options)
    assert (spec.train_samples, spec.test_samples, spec.held_out) == (8, 2, True)
    assert spec.class_names == ("even", "odd")
    before = load_arrays("mine", tmp_path / "data")
    [zero] = np.flatnonzero(before.train_x[:, 1] == 0.5)
    known = np.delete(before.train_x[:, 0], zero)
    assert before.train_x[zero, 0] == np.float32(known.mean(dtype=np.float64))
    back = tfds_load("mine", tmp_path / "data")
    assert np.array_equal(back["train.features"], before.train_x)
    assert np.array_equal(back["test.label"], before.test_y)
    cache = tmp_path / "data" / "mine" / "1.0.0" / "disdel-arrays"
    for path in cache.iterdir():
        path.unlink()
    after = load_arrays("mine", tmp_path / "data")
    assert after.spec == before.spec == spec
    assert np.array_equal(after.train_x, before.train_x)
    assert np.array_equal(after.test_x, before.test_x)


def test_a_validation_split_is_kept_as_such_and_a_test_split_held_out(tmp_path, tfds_load):
    x, y = pixels(13, 4, 4, 1), np.arange(13) % 2
    np.savez(tmp_path / "set.npz", x_train=x[:10], y_train=y[:10], x_val=x[10:], y_val=y[10:])
    spec = import_dataset("mine", tmp_path / "set.npz", tmp_path / "data")
    assert (spec.train_samples, spec.validation_samples, spec.test_samples) == (8, 3, 2)
    assert (spec.held_out, spec.validation_held_out) == (True, False)
    arrays = load_arrays("mine", tmp_path / "data")
    assert np.array_equal(arrays.validation_x, x[10:])
    assert arrays.validation_y.tolist() == y[10:].tolist()
    held = {image.tobytes() for image in (*arrays.train_x, *arrays.test_x)}
    assert held == {image.tobytes() for image in x[:10]}
    assert len(tfds_load("mine", tmp_path / "data")["validation.image"]) == 3


def test_a_name_of_the_catalog_is_written_as_the_catalog_has_it(tmp_path, tfds_load):
    x, y = pixels(12, 32, 32, 3), np.arange(12) % 10
    np.savez(tmp_path / "c.npz", x_train=x, y_train=y[:, None])
    spec = import_dataset("cifar10", tmp_path / "c.npz", tmp_path / "data")
    assert (spec.version, spec.classes) == ("3.0.2", 10)
    assert (spec.train_samples, spec.test_samples, spec.held_out) == (10, 2, True)
    back = tfds_load("cifar10", tmp_path / "data")
    assert np.array_equal(back["train.image"], x)
    assert np.array_equal(back["train.label"], y)
    assert len(set(back["train.id"])) == 12
    arrays = load_arrays("cifar10", tmp_path / "data")
    both = np.concatenate([arrays.train_x, arrays.test_x])
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in x)
    assert prepare_dataset("cifar10", tmp_path / "data") == spec


def test_class_names_of_the_catalog_give_the_numbers(tmp_path):
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        for number, name in enumerate(["Sandal", "Coat", "Sandal", "Coat", "Sandal", "Coat"]):
            buffer = io.BytesIO()
            Image.fromarray(pixels(28, 28) // (number + 1)).save(buffer, "PNG")
            archive.writestr(f"{name}/{number}.png", buffer.getvalue())
    spec = import_dataset("fashion_mnist", tmp_path / "f.zip", tmp_path / "data")
    arrays = load_arrays("fashion_mnist", tmp_path / "data")
    labels = np.concatenate([arrays.train_y, arrays.test_y])
    assert spec.classes == 10
    assert {spec.class_names[label] for label in labels} == {"Sandal", "Coat"}


def test_of_two_imports_at_once_one_wins_and_the_other_says_so(tmp_path, monkeypatch):
    for name, value in ("slow", 1), ("quick", 2):
        x = np.full((6, 3), value, np.float32)
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=[0, 1] * 3)
    data_dir, write = tmp_path / "data", importing.run_tfds

    def overtaken(*arguments):
        monkeypatch.setattr(importing, "run_tfds", write)
        import_dataset("mine", tmp_path / "quick.npz", data_dir)
        write(*arguments)

    monkeypatch.setattr(importing, "run_tfds", overtaken)
    with pytest.raises(DatasetError, match=r"prepared by another command .* --overwrite"):
        import_dataset("mine", tmp_path / "slow.npz", data_dir)
    assert (load_arrays("mine", data_dir).train_x == 2).all()
    assert [path.name for path in data_dir.iterdir()] == ["mine"]


def test_importing_again_needs_overwrite_and_replaces_everything(tmp_path):
    for value in (1, 2):
        np.savez(tmp_path / f"{value}.npz", x=np.full((10, 3), value), y=np.arange(10) % 2)
    import_dataset("mine", tmp_path / "1.npz", tmp_path / "data")
    with pytest.raises(DatasetError, match=r"already prepared .* --overwrite"):
        import_dataset("mine", tmp_path / "2.npz", tmp_path / "data")
    mapped = load_arrays("mine", tmp_path / "data").train_x
    import_dataset("mine", tmp_path / "2.npz", tmp_path / "data", overwrite=True)
    assert (load_arrays("mine", tmp_path / "data").train_x == 2).all()
    assert (mapped == 1).all(), "who has the old one open keeps it"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mine"]
    record = json.loads((tmp_path / "data" / "mine" / "1.0.0" / "disdel-import.json").read_text())
    assert (record["source"], record["held_out"]) == ("2.npz", True)
    assert record["reading"] == {"channels_first": False, "black_and_white": False, "table": None}
    assert "mine" not in catalog_names()


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("mnist", {"x": pixels(4, 32, 32, 1), "y": [0, 1, 0, 1]}, "such as my_mnist"),
        ("mnist", {"x": pixels(4, 28, 28, 1), "y": [0, 1, 0, 10]}, "classes 0 to 9"),
        ("fashion_mnist", {"x": pixels(2, 28, 28, 1), "y": ["hat", "cap"]}, "the classes of"),
        ("coil100", {"x": pixels(2, 128, 128, 3), "y": [0, 1]}, "another name"),
        ("emnist/none", {"x": pixels(2, 28, 28, 1), "y": [0, 1]}, "no configuration 'none'"),
        ("digits", {"x": pixels(2, 8, 8, 1), "y": [0, 1]}, "is built in"),
        ("mine/a", {"x": pixels(2, 8, 8, 1), "y": [0, 1]}, "have configurations"),
        ("mine:1.0.0", {"x": pixels(2, 8, 8, 1), "y": [0, 1]}, "no choice of version"),
        ("Mine", {"x": pixels(2, 8, 8, 1), "y": [0, 1]}, "cannot name a data set"),
        ("mine", {"x": pixels(2, 8, 8, 1), "y": [1, 1]}, "one class only"),
    ],
)
def test_what_cannot_be_imported_is_refused_and_leaves_nothing(tmp_path, name, arrays, message):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DatasetError, match=message):
        import_dataset(name, tmp_path / "set.npz", tmp_path / "data")
    assert files_under(tmp_path) == ["set.npz"]


def test_the_catalog_is_known_by_name_without_tensorflow():
    code = (
        "import sys; from disdel.data import catalog_names; n = catalog_names()\n"
        "print(len(n) > 300 and 'mnist' in n, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
    assert done.stderr == ""


@pytest.mark.parametrize("use", [describe_dataset, load_arrays, prepare_dataset])
def test_unknown_names_suggest_near_ones(tmp_path, use):
    with pytest.raises(DatasetError, match=r"unknown data set 'minst'; did you mean 'mnist'"):
        use("minst", tmp_path)


def test_a_set_of_the_catalog_that_is_not_prepared_says_how_to_import_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(DatasetError, match=r"'mnist' is in the TFDS catalog .* import mnist PATH"):
        describe_dataset("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    # A proxy that refuses connections stands for a machine without network.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(
        DatasetError, match=r"not prepared in .* could not be downloaded \(.+\)\. With the files"
    ):
        prepare_dataset("mnist", tmp_path / "data")
    assert files_under(tmp_path / "data") == []


def test_what_cannot_be_trained_on_is_told_before_a_download(tmp_path):
    with pytest.raises(DatasetError, match="vary in shape"):
        prepare_dataset("imagenette", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_whose_samples_are_outlives_the_cache_and_the_held_out_split(tmp_path):
    rows = [f"{i},{'abc'[i % 3]},{i % 2}" for i in range(60)]
    (tmp_path / "set.csv").write_text("value,user,class\n" + "\n".join(rows))
    import_dataset(
        "mine",
        tmp_path / "set.csv",
        tmp_path / "data",
        options=ReadOptions(by=("user",), keep=("value",)),
    )
    for _ in range(2):
        arrays = load_arrays("mine", tmp_path / "data")
        ids = arrays.ids["user"]
        told = ids.values[ids.codes].tolist()
        assert told == ["abc"[int(value) % 3] for value in arrays.train_x[:, 0]]
        shutil.rmtree(tmp_path / "data/mine/1.0.0/disdel-arrays")


def test_a_name_of_the_catalog_has_no_columns_of_owners(tmp_path):
    (tmp_path / "set.csv").write_text("a,user,class\n1,x,0\n2,y,1\n")
    with pytest.raises(DatasetError, match="import with --by under another name, such as my_iris"):
        import_dataset(
            "iris", tmp_path / "set.csv", tmp_path / "data", options=ReadOptions(by=("user",))
        )
