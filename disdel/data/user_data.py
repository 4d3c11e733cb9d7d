"""Data sets that a function of the user's returns: called again when anything has changed.

The decoded arrays lie in `disdel-user/KEY/` of the data directory. The key is of the code, the
folders that it runs in, the environment that it names and the packages that it imports; beside the
arrays is noted which files it has read. Where one of those is not as it was, or where the function
has asked another host, it is called again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import dacite
import numpy as np

from disdel.data import cache
from disdel.data.cache import DatasetArrays
from disdel.data.folders import publish, staging
from disdel.data.holdout import held_out_size
from disdel.data.tfds.runner import run_tfds
from disdel.data.tfds.tasks import Call
from disdel.errors import DatasetError
from disdel.types import DatasetSpec, Reading, TargetSpec, feature_of
from disdel.user_code.collecting import UserCode, collect, package_version, packages_of
from disdel.user_code.files_read import named_environment, still_holds

_FOLDER = "disdel-user"
_READ = "files.json"
# Raised when a function's samples are read in another way.
_FORMAT = 6
_VERSION = "1.0.0"


def load_user_arrays(entry: str, data_dir: Path) -> DatasetArrays:
    """The samples that the function `entry` returns; memory-mapped as long as nothing has changed.

    Raises:
        UsageError: there is no such function, it failed, or it returns no data set.
    """
    code = collect(entry)
    folder = data_dir / _FOLDER / _key(code)
    arrays = cache.open_arrays(folder, None) if _holds(folder) else None
    if arrays is None:
        _decode(code, folder, data_dir)
        arrays = cache.open_arrays(folder, None)
    if arrays is None:
        raise DatasetError(f"the samples of {entry} in {folder} cannot be read back")
    # One function may be named in several ways.
    return dataclasses.replace(arrays, spec=dataclasses.replace(arrays.spec, name=entry))


def _key(code: UserCode) -> str:
    sources = {name: source.decode(errors="replace") for name, source in code.python.items()}
    facts = {
        "format": _FORMAT,
        "disdel": package_version("disdel"),
        "python": sys.version,
        # Not the code's own digest, which is also of the files beside it that may be written.
        "code": [code.ref.source, code.ref.function, sorted(sources.items())],
        "folders": [str(code.folder.resolve()), str(Path.cwd())],
        "environment": named_environment(code.python.values()),
        "packages": {name: package_version(name) for name in sorted(packages_of(code))},
    }
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def _holds(folder: Path) -> bool:
    """Whether the function would read what it has read."""
    try:
        return still_holds(json.loads((folder / _READ).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def _decode(code: UserCode, folder: Path, data_dir: Path) -> None:
    with staging(data_dir) as scratch:
        splits = scratch / "splits"
        splits.mkdir()
        # In the user's own folder: such a function reads what lies beside it.
        task = Call(
            code=dataclasses.asdict(code.ref),
            sources=[source.decode(errors="replace") for source in code.python.values()],
            folder=str(code.folder.resolve()),
            splits_dir=str(splits.resolve()),
        )
        run_tfds(task, scratch, what=code.ref.entry)
        found = json.loads((splits / "found.json").read_text(encoding="utf-8"))
        spec = _spec(code, splits, found)
        (scratch / "version").mkdir()
        cache.build(splits, scratch / "version" / cache.FOLDER, spec, None)
        (scratch / "version" / _READ).write_text(json.dumps(found["read"]), encoding="utf-8")
        publish(scratch / "version", folder)


def _spec(code: UserCode, splits: Path, found: dict[str, Any]) -> DatasetSpec:
    samples = {
        path.name.removesuffix("_x.npy"): np.load(path, mmap_mode="r")
        for path in splits.glob("*_x.npy")
    }
    train, test, validation = (samples.get(name) for name in ("train", "test", "validation"))
    assert train is not None
    held = held_out_size(len(train)) if test is None else 0
    return DatasetSpec(
        name=code.ref.entry,
        version=_VERSION,
        features=(feature_of(train.shape[1:], train.dtype.name),),
        targets=(dacite.from_dict(TargetSpec, found["target"], dacite.Config(cast=[tuple])),),
        train_samples=len(train) - held,
        test_samples=held if test is None else len(test),
        validation_samples=0 if validation is None else len(validation),
        held_out=test is None,
        description=". ".join([f"Returned by {code.ref.entry}", *found["told"]]),
        reading=dacite.from_dict(Reading, found["reading"]),
    )
