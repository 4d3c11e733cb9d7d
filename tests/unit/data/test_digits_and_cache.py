from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from disdel.data import cache, describe_dataset, digits, list_datasets, load_arrays

HEAVY = "tensorflow", "keras", "torch", "sklearn", "tensorflow_datasets", "pyarrow", "PIL"


def cache_dir(data_dir):
    return data_dir / "digits" / "1.0.0" / "disdel-arrays"


def test_describing_digits_imports_nothing_heavy_and_touches_no_file(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from disdel.data import describe_dataset\n"
        f"describe_dataset('digits', Path({str(tmp_path / 'absent')!r}))\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert list(tmp_path.iterdir()) == []


def test_digits_are_what_their_specification_says(tmp_path):
    spec = describe_dataset("digits", tmp_path)
    arrays = load_arrays("digits", tmp_path)
    assert arrays.spec == spec
    assert spec.held_out
    assert arrays.train_x.shape == (1438, 8, 8, 1)
    assert arrays.test_x.shape == (359, 8, 8, 1)
    assert arrays.train_x.dtype == np.uint8
    assert arrays.train_y.dtype == np.int32
    assert (arrays.train_x.min(), arrays.train_x.max()) == (0, 255)
    assert set(np.unique(arrays.test_y)) == set(range(10))


def test_a_cached_set_is_mapped_read_only_without_its_source(tmp_path):
    load_arrays("digits", tmp_path)
    code = (
        "import sys; from pathlib import Path; from disdel.data import load_arrays\n"
        f"load_arrays('digits', Path({str(tmp_path)!r}))\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    arrays = load_arrays("digits", tmp_path)
    assert isinstance(arrays.train_x, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        arrays.train_x[0] = 0


def remove_an_array(folder):
    (folder / "train_y.npy").unlink()


def cut_an_array(folder):
    content = (folder / "train_x.npy").read_bytes()
    (folder / "train_x.npy").write_bytes(content[: len(content) // 2])


def swap_the_splits(folder):
    (folder / "train_x.npy").rename(folder / "x")
    (folder / "test_x.npy").rename(folder / "train_x.npy")


def damage_the_specification(folder):
    (folder / "spec.json").write_text("{")


def age_the_format(folder):
    content = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**content, "format": 0}))


@pytest.mark.parametrize(
    "damage",
    [remove_an_array, cut_an_array, swap_the_splits, damage_the_specification, age_the_format],
)
def test_an_unusable_cache_is_rebuilt(tmp_path, damage):
    before = np.array(load_arrays("digits", tmp_path).train_x)
    damage(cache_dir(tmp_path))
    assert np.array_equal(load_arrays("digits", tmp_path).train_x, before)
    assert sorted(path.name for path in cache_dir(tmp_path).iterdir()) == [
        "spec.json",
        "test_x.npy",
        "test_y.npy",
        "train_x.npy",
        "train_y.npy",
    ]


@pytest.mark.parametrize("change", [("train", "x"), ("test", "y")])
def test_the_digest_is_of_what_the_samples_are(tmp_path, change):
    first = load_arrays("digits", tmp_path / "one")
    assert load_arrays("digits", tmp_path / "two").digest == first.digest != ""
    splits = tmp_path / "splits"
    splits.mkdir()
    for split in ("train", "test"):
        for part in ("x", "y"):
            array = np.array(getattr(first, f"{split}_{part}"))
            if (split, part) == change:
                array[-1] = array[0]
            np.save(splits / f"{split}_{part}.npy", array)
    cache.build(splits, tmp_path / cache.FOLDER, digits.SPEC, None)
    other = cache.open_arrays(tmp_path, None)
    assert (other.spec, len(other.digest)) == (first.spec, 32)
    assert other.digest != first.digest


def test_two_first_loads_at_once_leave_one_whole_cache(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        loads = list(pool.map(lambda _: load_arrays("digits", tmp_path), range(8)))
    assert len({arrays.train_x.tobytes() for arrays in loads}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]
    assert [path.name for path in cache_dir(tmp_path).parent.iterdir()] == ["disdel-arrays"]


def test_digits_are_always_listed(tmp_path):
    [row] = list_datasets(tmp_path / "absent")
    assert (row.name, row.version, row.state) == ("digits", "1.0.0", "built in")


def test_a_cache_depends_on_the_content_of_all_files_of_the_set(tmp_path):
    version, splits = tmp_path / "set" / "1.0.0", tmp_path / "splits"
    version.mkdir(parents=True)
    splits.mkdir()
    source = version / "dataset_info.json"
    source.write_text("{}")
    records = version / "set-train.array_record"
    records.write_bytes(b"one")
    digits.write_splits(splits)
    cache.build(splits, version / cache.FOLDER, digits.SPEC, source)
    known = cache.read_spec(version, source)
    assert known is not None
    # A copy has other times, and is another file.
    shutil.copytree(version, tmp_path / "copy")
    assert cache.read_spec(tmp_path / "copy", tmp_path / "copy" / source.name) == known
    before = records.stat()
    records.write_bytes(b"two")
    os.utime(records, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.read_spec(version, source) is None
    records.write_bytes(b"one")
    assert cache.read_spec(version, source) == known
    (version / "more").touch()
    assert cache.read_spec(version, source) is None
