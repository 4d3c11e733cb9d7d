"""IDX, the format of the original MNIST files (Y. LeCun, C. Cortes and C. Burges).

A big-endian header (two zero bytes, a type code, the number of axes, each axis as 32 bits), then
the values. Images and labels are separate files with classical names.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.data.sources.files import FileTree, open_maybe_gzipped
from disdel.data.sources.room import array_bytes, read_at_most
from disdel.data.sources.samples import RawSplit, Source, raw_split
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions

_NAME = re.compile(
    r"(?P<before>.*?)(?P<split>train|t10k|test)-(?P<part>images|labels)[-.]idx\d-ubyte(?P<gz>\.gz)?"
)
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def is_idx(name: str) -> bool:
    return _NAME.fullmatch(name.rsplit("/", 1)[-1]) is not None


def matches(tree: FileTree) -> bool:
    return any(is_idx(name) for name in tree.names)


def pair_of(path: Path) -> tuple[str, ...]:
    """The names of an IDX file and of its partner, where that lies beside it."""
    match = _NAME.fullmatch(path.name)
    assert match is not None
    wanted = (match["before"], match["split"])
    return tuple(
        sorted(
            other.name
            for other in path.parent.iterdir()
            if (found := _NAME.fullmatch(other.name))
            and (found["before"], found["split"]) == wanted
        )
    )


def read(tree: FileTree, options: ReadOptions) -> Source:
    """Read the pairs of `tree`.

    Raises:
        DatasetError: an image file has no label file or the other way round, there are two of a
            kind, or one is damaged.
    """
    names: dict[tuple[str, str], str] = {}
    for name in tree.names:
        match = _NAME.fullmatch(name.rsplit("/", 1)[-1])
        if match is None:
            continue
        slot = ("train" if match["split"] == "train" else "test", match["part"])
        if slot in names:
            raise DatasetError(
                f"{tree.label}: both {names[slot]} and {name} hold the {' '.join(slot)}"
            )
        names[slot] = name
    if {split for split, _ in names} == {"test"}:
        # A pair that was named alone is all there is to train on.
        names = {("train", part): name for (_, part), name in names.items()}
    splits: dict[str, RawSplit] = {}
    # The training split says what the others have to be.
    for split in sorted({name for name, _ in names}, key=lambda name: name != "train"):
        images, labels = names.get((split, "images")), names.get((split, "labels"))
        if images is None or (labels is None and options.like is None):
            missing = "image" if images is None else "label"
            raise DatasetError(f"{tree.label}: {images or labels} has no {missing} file beside it")
        y = None if labels is None else _read_array(tree, labels)
        where = f"{tree.label}/{images}"
        x = _read_array(tree, images)
        # The file's name says what it holds.
        pictures = replace(options, samples="images" if x.ndim == 3 else options.samples)
        splits[split] = raw_split(x, y, where, pictures, first=splits.get("train"))
    return splits


def _read_array(tree: FileTree, name: str) -> NDArray[Any]:
    where = f"{tree.label}/{name}"
    with open_maybe_gzipped(tree, name) as file:
        start = read_at_most(file, 4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _DTYPES:
            raise DatasetError(f"{where} is not an IDX file")
        axes, dtype = start[3], np.dtype(_DTYPES[start[2]])
        shape = tuple(np.frombuffer(read_at_most(file, 4 * axes), dtype=">u4").tolist())
        expected = array_bytes(shape, dtype.itemsize)
        content = read_at_most(file, expected + 1)
    if axes == 0 or len(shape) != axes or len(content) != expected:
        has = "more" if len(content) > expected else f"{len(content):,}"
        raise DatasetError(
            f"{where} is damaged: its header says shape {shape}, {expected:,} bytes, and it has "
            f"{has}"
        )
    values = np.frombuffer(content, dtype=dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
