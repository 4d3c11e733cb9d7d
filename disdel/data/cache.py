"""The decoded samples of a data set, as arrays on disk.

`disdel-arrays/` holds `{train,test}_{x,y}.npy`, where the data set has a validation split also
`validation_{x,y}.npy`, and `spec.json`. It appears by a rename, so it is
whole or absent; one that no longer matches the data beside it counts as absent.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dacite
import numpy as np
from numpy.typing import NDArray

from disdel.data.client_ids import read_client_ids
from disdel.data.holdout import hold_out
from disdel.data.scaling import scaling_of
from disdel.errors import DatasetError
from disdel.types import DatasetSpec, Split
from disdel.types.assignment import ClientIds
from disdel.user_code.files_read import FileFact

FOLDER = "disdel-arrays"
_FORMAT = 6
_BLOCK_BYTES = 64 << 20
_PARTS = ("x", "y")
# The samples' dtype is uint8, int32, int64 or float32, which only the specification tells.
Samples = NDArray[Any]
# int32 for class numbers, float32 for numbers to predict.
Labels = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatasetArrays:
    """A data set in memory-mapped, read-only arrays.

    Attributes:
        spec: what is known of the data set.
        train_x: shape (train_samples, *input_shape), dtype `spec.input_dtype`; images 0 to 255.
        train_y: shape (train_samples, *target_shape), class numbers from 0, or numbers to predict.
        test_x: as `train_x`, for the test or held-out split.
        test_y: as `train_y`, for the test or held-out split.
        validation_x: as `train_x`, for the data set's own validation split; None without one.
        validation_y: as `train_y`, likewise.
        digest: of all of them, which tells them from others of the same shapes; empty where they
            were not read from a data set.
        ids: whose each training sample is, by the column of a table that tells it.
    """

    spec: DatasetSpec
    train_x: Samples
    train_y: Labels
    test_x: Samples
    test_y: Labels
    validation_x: Samples | None = None
    validation_y: Labels | None = None
    digest: str = ""
    ids: Mapping[str, ClientIds] = field(default_factory=dict)


def read_spec(version_dir: Path, source: Path | None) -> DatasetSpec | None:
    """The specification in the cache of `version_dir`, or None where there is no usable cache.

    Args:
        version_dir: the folder of one version of a data set.
        source: the file whose content the cache was made for, and those beside it; None when
            there is none.
    """
    kept = _read_kept(version_dir, source)
    return None if kept is None else kept[0]


def _read_kept(version_dir: Path, source: Path | None) -> tuple[DatasetSpec, str] | None:
    """The specification and the samples' digest; None where there is no usable cache."""
    try:
        raw = json.loads((version_dir / FOLDER / "spec.json").read_text(encoding="utf-8"))
        if raw["format"] != _FORMAT or raw["source_sha256"] != _digest(source):
            return None
        if source is not None and not _same_files(raw["files"], source.parent):
            return None
        spec = dacite.from_dict(DatasetSpec, raw["spec"], dacite.Config(cast=[tuple]))
        return spec, str(raw["digest"])
    except (OSError, ValueError, KeyError, TypeError, dacite.DaciteError):
        return None


def open_arrays(version_dir: Path, source: Path | None) -> DatasetArrays | None:
    """The cached arrays of `version_dir`, or None where there is no usable cache."""
    kept = _read_kept(version_dir, source)
    if kept is None:
        return None
    spec, digest = kept
    splits: list[Split] = ["train", "test"]
    if spec.validation_samples:
        splits.append("validation")
    try:
        parts = {
            f"{split}_{part}": np.load(version_dir / FOLDER / f"{split}_{part}.npy", mmap_mode="r")
            for split in splits
            for part in _PARTS
        }
    except (OSError, ValueError):
        return None
    for split in splits:
        x, y = parts[f"{split}_x"], parts[f"{split}_y"]
        samples = spec.samples(split)
        if (x.shape, x.dtype) != ((samples, *spec.input_shape), spec.input_dtype):
            return None
        if (y.shape, y.dtype) != ((samples, *spec.target.shape), spec.target.dtype):
            return None
    ids = read_client_ids(version_dir)
    if any(len(column.codes) != spec.train_samples for column in ids.values()):
        return None
    return DatasetArrays(spec=spec, digest=digest, ids=ids, **parts)


def build(splits_dir: Path, target: Path, spec: DatasetSpec, source: Path | None) -> DatasetSpec:
    """Write the folder of arrays, from the splits of a data set as they came.

    Args:
        splits_dir: holds `SPLIT_x.npy` and `SPLIT_y.npy` of each split of the source; files that
            can be used as they are are moved out of it.
        target: the folder to write; it must not exist.
        spec: says how many samples each split must end with. Where there is no "test" split, one
            is held out of "train".
        source: as for `read_spec`.

    Returns:
        `spec` with what standardises the samples.

    Raises:
        DatasetError: the labels are not class numbers below `spec.classes`.
    """
    target.mkdir()
    given = [path.name.removesuffix("_y.npy") for path in splits_dir.glob("*_y.npy")]
    for split in given:
        _check_labels(np.load(splits_dir / f"{split}_y.npy"), spec, split)
    if "test" not in given:
        given.remove("train")
        samples = np.load(splits_dir / "train_x.npy", mmap_mode="r")
        labels = np.load(splits_dir / "train_y.npy")
        for split, positions in zip(("train", "test"), hold_out(labels), strict=True):
            np.save(target / f"{split}_x.npy", samples[positions])
            np.save(target / f"{split}_y.npy", labels[positions])
    for name in (f"{split}_{part}.npy" for split in given for part in _PARTS):
        (splits_dir / name).rename(target / name)
    train_x, train_y = (np.load(target / f"train_{part}.npy", mmap_mode="r") for part in _PARTS)
    spec = dataclasses.replace(spec, scaling=scaling_of(train_x, train_y))
    content = {
        "format": _FORMAT,
        "source_sha256": _digest(source),
        "files": {} if source is None else _files(source.parent),
        "spec": dataclasses.asdict(spec),
        # Taken once, since it reads everything.
        "digest": _digest_of_samples(target),
    }
    (target / "spec.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    return spec


def _check_labels(labels: Labels, spec: DatasetSpec, split: str) -> None:
    if spec.classes and labels.size and not 0 <= labels.min() <= labels.max() < spec.classes:
        raise DatasetError(
            f"the {split!r} split of {spec.name!r} has labels from {labels.min()} to "
            f"{labels.max()}, where 0 to {spec.classes - 1} are needed (-1 marks samples without "
            "a label)"
        )


def _digest_of_samples(folder: Path) -> str:
    """Of what the arrays hold, however their files say it."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.glob("*.npy")):
        array = np.load(path, mmap_mode="r")
        digest.update(f"{path.stem} {array.dtype.name} {array.shape}".encode())
        rows = max(1, _BLOCK_BYTES * len(array) // max(1, array.nbytes))
        for start in range(0, len(array), rows):
            digest.update(np.ascontiguousarray(array[start : start + rows]).data)
    return digest.hexdigest()


def _digest(source: Path | None) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest() if source else ""


def _files(folder: Path) -> dict[str, Any]:
    """The files of a prepared data set, as they are now."""
    return {
        path.name: dataclasses.astuple(FileFact.of(path, digested=True, settled=True))
        for path in folder.iterdir()
        if path.is_file()
    }


def _same_files(noted: dict[str, Any], folder: Path) -> bool:
    """Whether these are the files that were noted: by their times, else by what they hold."""
    there = {path.name for path in folder.iterdir() if path.is_file()}
    return noted.keys() == there and all(
        FileFact(tuple(state), digest, looked_ns).holds(folder / name)
        for name, (state, digest, looked_ns) in noted.items()
    )
