"""Image folders: `[SPLIT/]CLASS/FILE.png` or `.jpg`, all images of one size and mode."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from disdel.catalog.datasets.sources.files import FileTree
from disdel.catalog.datasets.sources.samples import RawSplit, Source, raw_split, split_name
from disdel.errors import DatasetError

_SUFFIXES = (".png", ".jpg", ".jpeg")
# Modes that hold 8 bits a channel as they are; palettes and black-and-white are expanded to these.
_MODES = {"L": "L", "RGB": "RGB", "RGBA": "RGBA", "1": "L", "P": "RGB"}


def matches(tree: FileTree, *, deepest: int = 3) -> bool:
    images = [name for name in tree.names if _is_image(name)]
    return bool(images) and all(2 <= name.count("/") + 1 <= deepest for name in images)


def read(tree: FileTree) -> Source:
    """Read every image of `tree`, in the order of their names.

    Raises:
        DatasetError: an image lies outside a class folder, cannot be read, or differs from the
            first in size or mode.
    """
    files: dict[str, list[tuple[str, str]]] = {}
    for name in filter(_is_image, tree.names):
        *folders, class_name = PurePosixPath(name).parts[:-1]
        split = split_name(folders[0]) if folders else "train"
        if split is None:
            raise DatasetError(
                f"{tree.label}/{name}: {folders[0]!r} is not a split; the layout is "
                "train/CLASS/FILE and test/CLASS/FILE, or CLASS/FILE"
            )
        files.setdefault(split, []).append((name, class_name))
    reader = _Reader(tree)
    return {split: reader.read(members) for split, members in files.items()}


class _Reader:
    """Reads images that must all be like the first."""

    def __init__(self, tree: FileTree) -> None:
        self._tree = tree
        self._first: tuple[str, str] | None = None

    def read(self, members: list[tuple[str, str]]) -> RawSplit:
        first = self._pixels(members[0][0])
        images = np.empty((len(members), *first.shape), dtype=np.uint8)
        for position, (name, _) in enumerate(members):
            images[position] = self._pixels(name)
        labels = np.array([class_name for _, class_name in members])
        return raw_split(images, labels, self._tree.label)

    def _pixels(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        from PIL import Image, UnidentifiedImageError

        where = f"{self._tree.label}/{name}"
        try:
            with self._tree.open(name) as file, Image.open(file) as image:
                mode = _MODES.get(image.mode)
                if mode is None:
                    raise DatasetError(
                        f"{where} is of mode {image.mode}; needed are 8 bits a channel in grey, "
                        "RGB or RGBA"
                    )
                form = f"{image.width}×{image.height} {mode}"
                pixels = np.asarray(image.convert(mode), dtype=np.uint8)
        except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
            raise DatasetError(f"{where} is not an image: {error}") from error
        except OSError as error:
            raise DatasetError(f"{where} is a damaged image: {error}") from error
        if self._first is None:
            self._first = (name, form)
        elif form != self._first[1]:
            raise DatasetError(
                f"{self._tree.label}: all images must be of one size and mode; {name} is {form}, "
                f"{self._first[0]} is {self._first[1]}"
            )
        return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES)
