"""What a source holds, brought into the two forms that are trained on.

Images are uint8 of shape (height, width, channels); everything else is float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.errors import DatasetError

_IMAGE_CHANNELS = (1, 3, 4)
_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}


@dataclass(frozen=True, slots=True, eq=False)
class RawSplit:
    """One split as its source gives it.

    Attributes:
        x: shape (n, *sample), dtype uint8 (then three axes a sample: an image) or float32.
        labels: shape (n,), int64, text, or float32 where they are numbers with fractions.
    """

    x: NDArray[Any]
    labels: NDArray[Any]


Source = Mapping[str, RawSplit]
"""Splits by name: "train" always, "test" and "validation" where the source has them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledSplits:
    """Splits with class numbers, or with numbers to predict.

    Attributes:
        splits: as in the source.
        labels: by split, shape (n,): int32, 0 to classes-1; float32 where they are numbers.
        classes: the number of classes; 0 where labels are numbers.
        class_names: one a class, or empty where labels were 0 to classes-1 already.
    """

    splits: Source
    labels: Mapping[str, NDArray[Any]]
    classes: int
    class_names: tuple[str, ...]


def split_name(word: str) -> str | None:
    """The split that a folder, a file or an array of this name holds, or None."""
    return _SPLITS.get(word.lower())


def raw_split(x: NDArray[Any], labels: NDArray[Any], where: str) -> RawSplit:
    """Check one split and convert its samples.

    Args:
        x: shape (n, …), any number type. Integers of three axes, or four with 1, 3 or 4 channels
            last, are images and must be 0 to 255; booleans likewise, as black and white.
        labels: shape (n,) or (n, 1), numbers or text.
        where: the file, for messages.

    Raises:
        DatasetError: the arrays are empty, of different lengths, of another type, or hold NaN or
            infinity.
    """
    if x.ndim == 0 or labels.ndim == 0 or len(x) == 0:
        raise DatasetError(f"{where} holds no samples")
    if len(x) != len(labels):
        raise DatasetError(
            f"{where} holds {len(x)} samples and {len(labels)} labels; each sample needs one"
        )
    return RawSplit(_convert_samples(x, where), _convert_labels(labels, where))


def labelled(source: Source, where: str, *, numbers: bool = False) -> LabelledSplits:
    """Number the classes over all splits: by value where labels are whole numbers, else by name.

    Labels with fractions are numbers to predict, and so are all labels with `numbers`.

    Raises:
        DatasetError: there is no training split, splits disagree in shape or kind of label, or
            there are fewer than two classes.
    """
    if "train" not in source:
        raise DatasetError(
            f"{where} has no training samples; its splits are {', '.join(source) or 'none'}"
        )
    first = source["train"]
    for name, split in source.items():
        if split.x.shape[1:] != first.x.shape[1:] or split.x.dtype != first.x.dtype:
            raise DatasetError(
                f"{where}: samples of 'train' are {_form(first.x)}, those of {name!r} are "
                f"{_form(split.x)}"
            )
    kinds = {split.labels.dtype.kind for split in source.values()}
    if "U" in kinds and (numbers or len(kinds) > 1):
        both = "text" if numbers else "text in one split and numbers in another"
        raise DatasetError(f"{where}: labels are {both}")
    if numbers or "f" in kinds:
        return LabelledSplits(
            splits=source,
            labels={name: split.labels.astype(np.float32) for name, split in source.items()},
            classes=0,
            class_names=(),
        )
    values = np.unique(np.concatenate([split.labels for split in source.values()]))
    if len(values) < 2:
        raise DatasetError(
            f"{where} has one class only ({values[0]}); two are needed to learn anything"
        )
    if values.dtype.kind == "U":
        values = _natural_order(values)
    order = np.argsort(values)
    positions = {
        name: order[np.searchsorted(values, split.labels, sorter=order)].astype(np.int32)
        for name, split in source.items()
    }
    names = tuple(map(str, values))
    trivial = names == tuple(map(str, range(len(names))))
    return LabelledSplits(
        splits=source, labels=positions, classes=len(names), class_names=() if trivial else names
    )


def _convert_samples(x: NDArray[Any], where: str) -> NDArray[Any]:
    if x.dtype.kind not in "fiub":
        raise DatasetError(f"{where}: samples are of type {x.dtype}; numbers are needed")
    if x.dtype.kind == "b" and x.ndim >= 3:
        x = x.astype(np.uint8) * np.uint8(255)
    if x.dtype.kind in "iu":
        if x.ndim == 4 and x.shape[1] in _IMAGE_CHANNELS and x.shape[3] not in _IMAGE_CHANNELS:
            raise DatasetError(
                f"{where}: images of shape {x.shape[1:]} have their channels first; needed is "
                "(height, width, channels), as x.transpose(0, 2, 3, 1) gives it"
            )
        is_image = x.ndim == 3 or (x.ndim == 4 and x.shape[3] in _IMAGE_CHANNELS)
        if is_image and x.size and x.min() >= 0 and x.max() <= 255:
            images = x[..., np.newaxis] if x.ndim == 3 else x
            return np.ascontiguousarray(images, dtype=np.uint8)
    if x.ndim == 1:
        x = x[:, np.newaxis]
    if x.size == 0:
        raise DatasetError(f"{where}: samples of shape {x.shape[1:]} are empty")
    values = np.ascontiguousarray(x, dtype=np.float32)
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise DatasetError(
            f"{where}: sample {int(np.argmin(finite))} (counted from 0) holds NaN, infinity or a "
            "number beyond float32"
        )
    return values


def _convert_labels(labels: NDArray[Any], where: str) -> NDArray[Any]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DatasetError(_of_targets_with_axes(labels, where))
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    if labels.dtype.kind == "U":
        return labels
    if labels.dtype.kind not in "fiub":
        raise DatasetError(
            f"{where}: labels are of type {labels.dtype}; numbers or text are needed"
        )
    if labels.dtype.kind == "f":
        values = labels.astype(np.float32)
        if not np.isfinite(values).all():
            wrong = labels[~np.isfinite(values)][0]
            raise DatasetError(f"{where}: labels are not all finite ({wrong} is among them)")
        if (labels != np.floor(labels)).any():
            return values
    return labels.astype(np.int64)


def _of_targets_with_axes(labels: NDArray[Any], where: str) -> str:
    """Why labels of shape (n, …) are refused, and what to give instead."""
    shape = "×".join(map(str, labels.shape[1:]))
    said = (
        f"{where}: labels have shape {labels.shape}, which is {shape} a sample, and one class or "
        "one number a sample is learnt"
    )
    if labels.ndim == 2 and labels.dtype.kind in "fiub":
        ones = labels == 1
        if (ones | (labels == 0)).all() and (ones.sum(axis=1) == 1).all():
            return f"{said}; these rows are one-hot: give y.argmax(axis=1)"
    return (
        f"{said}: several labels, tokens or numbers for one sample are not supported; give one "
        "column of them, y[:, i], and train a model for each"
    )


def _natural_order(values: NDArray[Any]) -> NDArray[Any]:
    """Class names sorted by value when all are whole numbers, else as they are."""
    try:
        return values[np.argsort(values.astype(np.int64), kind="stable")]
    except ValueError:
        return values


def _form(x: NDArray[Any]) -> str:
    return f"{'×'.join(map(str, x.shape[1:]))} {x.dtype}"
