"""Files to predict: `.npz` arrays, single images, folders of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from disdel.arrays import Array
from disdel.errors import UsageError
from disdel.types import DatasetSpec

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
# Arrays of samples that are looked for, in this order, and of their labels.
_LABELS_OF = {"x": "y", "x_test": "y_test", "images": "labels"}
_PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Samples to predict.

    Attributes:
        names: one a sample: the image's file, or the position among the samples.
        x: (samples, *input_shape) in the data set's dtype.
        y: (samples,) int64 classes or float32 numbers, None where there are none.
        resized: how many images had another size and were scaled.
    """

    names: tuple[str, ...]
    x: Array
    y: Array | None = None
    resized: int = 0


def read_inputs(path: Path, dataset: DatasetSpec) -> Inputs:
    """The samples in `path`, in the shape and dtype that a model of `dataset` takes.

    Images are converted to the data set's channels and scaled to its size.

    Raises:
        UsageError: nothing readable there, or samples of another shape.
    """
    if not path.exists():
        raise UsageError(f"--input {path} does not exist")
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _IMAGE_SUFFIXES)
        if not files:
            raise UsageError(f"--input {path} holds no images ({', '.join(_IMAGE_SUFFIXES)})")
        return _read_images(files, dataset)
    if path.suffix == ".npz":
        return _read_npz(path, dataset)
    if path.suffix.lower() in _IMAGE_SUFFIXES:
        return _read_images([path], dataset)
    raise UsageError(f"--input {path} is neither .npz nor an image nor a folder of images")


def _read_npz(path: Path, dataset: DatasetSpec) -> Inputs:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            wanted = next((n for n in _LABELS_OF if n in names), None)
            if wanted is None and len(names) != 1:
                raise UsageError(
                    f"--input {path} has arrays {', '.join(names)}; name the samples x"
                )
            x = archive[wanted or names[0]]
            labels = _LABELS_OF.get(wanted or "")
            y = archive[labels] if labels in names else None
    except (OSError, ValueError) as error:
        raise UsageError(f"--input {path} cannot be read: {error}") from error
    if x.shape == dataset.input_shape:
        x = x[np.newaxis]
    if x.shape[1:] != dataset.input_shape and (*x.shape[1:], 1) == dataset.input_shape:
        x = x[..., np.newaxis]
    if x.shape[1:] != dataset.input_shape or not len(x):
        raise UsageError(
            f"--input {path} has samples of shape {x.shape[1:]} ({len(x)} of them); "
            f"{dataset.name} has {dataset.input_shape}"
        )
    if dataset.input_dtype == "uint8" and x.dtype != np.uint8:
        raise UsageError(
            f"--input {path} is {x.dtype}; images of {dataset.name} are uint8, 0 to 255"
        )
    return Inputs(
        tuple(str(index) for index in range(len(x))),
        x.astype(dataset.input_dtype),
        None if y is None else _labels(path, y, len(x), dataset),
    )


def _labels(path: Path, y: Array, samples: int, dataset: DatasetSpec) -> Array:
    """`y` as (samples,): classes int64, or numbers float32.

    Raises:
        UsageError: these are no targets of the data set, one a sample.
    """
    if not dataset.classes:
        return _numbers(path, y, samples)
    if y.size != samples or not np.issubdtype(y.dtype, np.integer):
        raise UsageError(
            f"--input {path} has labels of shape {y.shape} and type {y.dtype} for {samples} "
            "samples; give one whole number a sample, or none"
        )
    flat = y.reshape(-1).astype(np.int64)
    if flat.min() < 0 or flat.max() >= dataset.classes:
        raise UsageError(
            f"--input {path} has labels from {flat.min()} to {flat.max()}, and {dataset.name} has "
            f"classes 0 to {dataset.classes - 1}"
        )
    return flat


def _numbers(path: Path, y: Array, samples: int) -> Array:
    if y.size != samples or not np.issubdtype(y.dtype, np.number) or not np.isfinite(y).all():
        raise UsageError(
            f"--input {path} has targets of shape {y.shape} and type {y.dtype} for {samples} "
            "samples; give one finite number a sample, or none"
        )
    return y.reshape(-1).astype(np.float32)


def _read_images(files: list[Path], dataset: DatasetSpec) -> Inputs:
    shape = dataset.input_shape
    mode = _PIL_MODES.get(shape[2]) if len(shape) == 3 else None
    if mode is None or dataset.input_dtype != "uint8":
        raise UsageError(f"{dataset.name} has samples of shape {shape}, not images; use .npz")
    height, width, _ = shape
    x = np.empty((len(files), *shape), np.uint8)
    resized = 0
    for index, file in enumerate(files):
        try:
            with Image.open(file) as image:
                converted = image.convert(mode)
        except (OSError, UnidentifiedImageError) as error:
            raise UsageError(f"--input {file} cannot be read as an image: {error}") from error
        if converted.size != (width, height):
            converted = converted.resize((width, height), Image.Resampling.BILINEAR)
            resized += 1
        x[index] = np.asarray(converted).reshape(shape)
    return Inputs(tuple(str(file) for file in files), x, resized=resized)
