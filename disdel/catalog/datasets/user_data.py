"""Data sets that a function of the user's returns: called once a version of its code.

The decoded arrays lie in `disdel-user/DIGEST/` of the data directory. What the function reads is
not looked at: where that changes and the code does not, the folder has to go.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from disdel.catalog.datasets import cache
from disdel.catalog.datasets.cache import DatasetArrays, find_test_split
from disdel.catalog.datasets.folders import publish, staging
from disdel.catalog.datasets.holdout import held_out_size
from disdel.catalog.datasets.tfds_runner import run_tfds
from disdel.catalog.datasets.tfds_tasks import Call
from disdel.errors import DatasetError
from disdel.types import DatasetSpec
from disdel.user_code import UserCode, collect

_FOLDER = "disdel-user"
_VERSION = "1.0.0"


def load_user_arrays(entry: str, data_dir: Path) -> DatasetArrays:
    """The samples that the function `entry` returns; memory-mapped from the second call on.

    Raises:
        UsageError: there is no such function, it failed, or it returns no data set.
    """
    code = collect(entry)
    folder = data_dir / _FOLDER / code.ref.digest
    arrays = cache.open_arrays(folder, None)
    if arrays is None:
        _decode(code, folder, data_dir)
        arrays = cache.open_arrays(folder, None)
    if arrays is None:
        raise DatasetError(f"the samples of {entry} in {folder} cannot be read back")
    # Code that was moved or is named in another way is the same code.
    return dataclasses.replace(arrays, spec=dataclasses.replace(arrays.spec, name=entry))


def _decode(code: UserCode, folder: Path, data_dir: Path) -> None:
    with staging(data_dir) as scratch:
        splits = scratch / "splits"
        splits.mkdir()
        # In the user's own folder: such a function reads what lies beside it.
        task = Call(
            code=dataclasses.asdict(code.ref),
            folder=str(code.folder.resolve()),
            splits_dir=str(splits),
        )
        run_tfds(task, scratch, what=code.ref.entry)
        spec = _spec(code, splits)
        (scratch / "version").mkdir()
        cache.build(splits, scratch / "version" / cache.FOLDER, spec, None)
        publish(scratch / "version", folder)


def _spec(code: UserCode, splits: Path) -> DatasetSpec:
    found = json.loads((splits / "found.json").read_text(encoding="utf-8"))
    samples = {
        path.name.removesuffix("_x.npy"): np.load(path, mmap_mode="r")
        for path in splits.glob("*_x.npy")
    }
    train, test = samples["train"], find_test_split(samples)
    held = held_out_size(len(train)) if test is None else 0
    return DatasetSpec(
        name=code.ref.entry,
        version=_VERSION,
        input_shape=train.shape[1:],
        input_dtype=train.dtype.name,
        classes=found["classes"],
        train_samples=len(train) - held,
        test_samples=held if test is None else len(samples[test]),
        held_out=test is None,
        class_names=tuple(found["class_names"]),
        description=f"Returned by {code.ref.entry}.",
    )
