"""NumPy archives: `x_train`/`y_train`, `train_images`/`train_labels`, `x`/`y` and the like."""

from __future__ import annotations

import re
import tokenize
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.data.sources.files import FileTree, first_line
from disdel.data.sources.room import check_room
from disdel.data.sources.samples import RawSplit, Source, raw_split, split_name
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions
from disdel.types.words import counted

_SAMPLES = {"x", "image", "images", "data", "feature", "features", "input", "inputs"}
_LABELS = {"y", "label", "labels", "target", "targets", "class", "classes"}


# NumPy reads the header of an array as Python's literals.
_DAMAGED = (
    EOFError,
    RuntimeError,
    SyntaxError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def matches(tree: FileTree) -> bool:
    return any(name.lower().endswith(".npz") for name in tree.names)


def read(tree: FileTree, options: ReadOptions) -> Source:
    """Read the one archive of `tree`.

    Raises:
        DatasetError: there are several archives, one holds pickled objects or is damaged, or its
            arrays do not pair up.
    """
    archives = [name for name in tree.names if name.lower().endswith(".npz")]
    if len(archives) > 1:
        raise DatasetError(f"{tree.label} holds several archives; name one: {', '.join(archives)}")
    if others := len(tree.names) - 1:
        options.tell(f"{counted(others, 'file')} beside {archives[0]} left out")
    where = f"{tree.label}/{archives[0]}"
    arrays, keys = _read_arrays(tree, archives[0], where, options)
    splits: dict[str, RawSplit] = {}
    # The training split says what the others have to be.
    for split in sorted({name for name, _ in arrays}, key=lambda name: name != "train"):
        x, y = arrays.get((split, "samples")), arrays.get((split, "labels"))
        if x is None or (y is None and options.like is None):
            missing = "samples" if x is None else "labels"
            raise DatasetError(f"{where}: no {missing} of the {split} split among {keys}")
        first = splits.get("train")
        at = where if options.like is not None else f"{where}, {split}"
        splits[split] = raw_split(x, y, at, options, first=first)
    if not splits:
        raise DatasetError(
            f"{where} holds {keys or 'no arrays'}; needed are x_train and y_train (and x_test, "
            "y_test), or x and y"
        )
    return splits


def _read_arrays(
    tree: FileTree, name: str, where: str, options: ReadOptions
) -> tuple[dict[tuple[str, str], NDArray[Any]], str]:
    """The arrays whose names tell split and part, and the names of all, for messages."""
    arrays: dict[tuple[str, str], NDArray[Any]] = {}
    try:
        with tree.open(name) as file, np.lib.npyio.NpzFile(file) as archive:
            assert archive.zip is not None
            # An array is read as a whole, and what its header says is allocated before that.
            check_room(sum(info.file_size for info in archive.zip.infolist()), where)
            keys = ", ".join(archive.files)
            others = [key for key in archive.files if _slot(key) is None]
            if others and len(archive.files) == 1 and options.like is not None:
                return {("train", "samples"): _array(archive, others[0])}, keys
            for key in archive.files:
                slot = _slot(key)
                if slot in arrays:
                    raise DatasetError(f"{where}: two arrays hold the {' '.join(slot)}: {keys}")
                if slot is not None:
                    arrays[slot] = _array(archive, key)
    except _DAMAGED as error:
        hint = ""
        if "pickle" in str(error):
            hint = "; of Python objects, save texts with .astype(str), and numbers as numbers"
        raise DatasetError(
            f"{where} is not an archive of plain arrays: {first_line(error)}{hint}"
        ) from error
    if others and arrays:
        options.tell(f"{where}: arrays left out: {', '.join(others)}")
    return arrays, keys


def _array(archive: np.lib.npyio.NpzFile, key: str) -> NDArray[Any]:
    value: Any = archive[key]
    if not isinstance(value, np.ndarray):
        what = f"{len(value):,} bytes of something else"
        raise ValueError(f"{key!r} is no array, but {what}")  # noqa: TRY004 - as NumPy does
    return value


def _slot(key: str) -> tuple[str, str] | None:
    """The split and the part ("samples" or "labels") that an array's name means, or None."""
    words = [word for word in re.split(r"[^a-z0-9]+", key.lower()) if word]
    splits = {split for word in words if (split := split_name(word))}
    roles = [word for word in words if not split_name(word)]
    if len(splits) > 1 or len(roles) != 1:
        return None
    split = splits.pop() if splits else "train"
    if roles[0] in _SAMPLES:
        return split, "samples"
    return (split, "labels") if roles[0] in _LABELS else None
