"""Image folders: `[SPLIT/]CLASS/FILE`, all images of one size, or brought to one."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from disdel.data.sources.files import FileTree
from disdel.data.sources.images import SUFFIXES, UNREADABLE, ImageReader, is_image, pixels_of
from disdel.data.sources.room import array_bytes, check_room
from disdel.data.sources.samples import RawSplit, Source, split_name, targets_alike
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions
from disdel.types import DatasetSpec
from disdel.types.words import counted

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ", ".join(suffix.removeprefix(".") for suffix in SUFFIXES)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def has_images(tree: FileTree) -> bool:
    return any(map(is_image, tree.names))


def matches(tree: FileTree, *, deepest: int = 3) -> bool:
    """Whether all images lie in folders, one or two (`deepest` 3) above each."""
    images = [name for name in tree.names if is_image(name)]
    return bool(images) and all(2 <= name.count("/") + 1 <= deepest for name in images)


def read(tree: FileTree, options: ReadOptions) -> Source:
    """Read every image of `tree`, in the order of their names; other files are told.

    Raises:
        DatasetError: an image lies outside a class folder, cannot be read, or is of another size
            than the first, and the user names none.
    """
    _tell_others(tree, options)
    files: dict[str, list[tuple[str, str]]] = {}
    for name in filter(is_image, tree.names):
        *folders, class_name = PurePosixPath(name).parts[:-1]
        split = split_name(folders[0]) if folders else "train"
        if split is None:
            raise DatasetError(
                f"{tree.label}/{name}: {folders[0]!r} is not a split; the layout is "
                "train/CLASS/FILE and test/CLASS/FILE, or CLASS/FILE"
            )
        # Systems write the same letters in different ways.
        files.setdefault(split, []).append((name, unicodedata.normalize("NFC", class_name)))
    reader = ImageReader(tree)
    mode = _common_mode(reader, [name for members in files.values() for name, _ in members])
    first = next(iter(files.values()))[0][0]
    size = options.size or _size(reader.read(first, mode))
    reader.changes.clear()
    splits = {}
    for split, members in files.items():
        shape = (len(members), *size, len(mode))
        check_room(array_bytes(shape, 1), f"{tree.label}, {split}")
        images = np.empty(shape, dtype=np.uint8)
        for position, (name, _) in enumerate(members):
            image = reader.read(name, mode)
            if options.size is not None:
                image = reader.scaled(image, size)
            elif _size(image) != size:
                raise DatasetError(
                    f"{tree.label}: all images must be of one size; in height × width {name} is "
                    f"{_form(_size(image))}, and {first} is {_form(size)}; --size "
                    f"{size[0]}x{size[1]} scales them all to that size, bilinearly and without "
                    "keeping their proportions"
                )
            images[position] = pixels_of(image)
        labels = np.array([class_name for _, class_name in members])
        splits[split] = RawSplit(images, labels, classified=True)
    for line in reader.told():
        options.tell(line)
    return splits


def _size(image: Image.Image) -> tuple[int, int]:
    """Height and width, as shapes have them."""
    return image.height, image.width


def _form(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _tell_others(tree: FileTree, options: ReadOptions) -> None:
    """Name the files that are no images, by their suffix.

    Raises:
        DatasetError: there are images among them.
    """
    others = [name for name in tree.names if not is_image(name)]
    if unreadable := [name for name in others if name.lower().endswith(UNREADABLE)]:
        raise DatasetError(
            f"{tree.label}: {counted(len(unreadable), 'image')} in a format that cannot be read "
            f"here, as {unreadable[0]}; convert them to one of {FORMATS}, or remove them"
        )
    counts = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in others)
    for suffix, count in sorted(counts.items()):
        options.tell(f"{counted(count, 'file')} left out: {suffix}")
    with_images = {PurePosixPath(name).parent for name in tree.names if is_image(name)}
    for folder in sorted({PurePosixPath(name).parent for name in others} - with_images):
        if folder.parts:
            options.tell(f"folder {str(folder)!r} has no images, and is no class")


def _common_mode(reader: ImageReader, names: list[str]) -> str:
    """The mode that loses nothing of any of the images."""
    modes = {reader.mode(name) for name in names}
    return "RGBA" if "RGBA" in modes else "RGB" if "RGB" in modes else "L"


def read_inputs_of(tree: FileTree, path: Path, options: ReadOptions) -> RawSplit:
    """Images to predict, from folders of any depth, in the data set's size and channels.

    Where each lies in a folder that is called as a class, that is its class.

    Raises:
        DatasetError: one cannot be read, or the data set has no images.
    """
    like = options.like
    assert like is not None
    shape = like.input_shape
    mode = _MODES.get(shape[2]) if len(shape) == 3 else None
    if mode is None or like.input_dtype != "uint8":
        raise DatasetError(f"{like.name} has samples of shape {shape}, not images; use .npz")
    if path.is_dir():
        _tell_others(tree, options)
    reader = ImageReader(tree)
    names = [name for name in tree.names if is_image(name)]
    height, width, _ = shape
    check_room(array_bytes((len(names), *shape), 1), tree.label)
    x = np.empty((len(names), *shape), np.uint8)
    for place, name in enumerate(names):
        x[place] = pixels_of(reader.scaled(reader.read(name, mode), (height, width)))
    for line in reader.told():
        options.tell(line)
    return RawSplit(
        x,
        _labels(tree, names, like, options),
        like.reading,
        tuple(f"{tree.label}/{name}" for name in names),
    )


def _labels(
    tree: FileTree, names: list[str], like: DatasetSpec, options: ReadOptions
) -> np.ndarray[tuple[int], np.dtype[np.str_]] | None:
    """The names of the classes whose folders the images lie in; None where there are none."""
    folders = [unicodedata.normalize("NFC", PurePosixPath(name).parent.name) for name in names]
    if not like.classes or not any(folders):
        return None
    labels = np.array(folders)
    try:
        targets_alike(labels, like, tree.label)
    except DatasetError:
        known = like.class_names or tuple(map(str, range(like.classes)))
        if set(folders) & set(known):
            options.tell(
                "folders are not taken as classes: some are none of the data set's, as "
                f"{next(folder for folder in folders if folder not in known)!r}"
            )
        return None
    options.tell("folders are taken as the images' classes")
    return labels
