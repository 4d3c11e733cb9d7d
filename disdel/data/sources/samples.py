"""What a source holds: splits of samples with labels, and the classes that these are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.data.sources import arrays
from disdel.data.sources.integers import common_dtype
from disdel.data.sources.labels import (
    check_classes,
    check_elements,
    check_not_one_hot,
    convert_labels,
    plain,
    sizes,
    told_labels,
)
from disdel.data.sources.rounding import check_targets
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions
from disdel.types import DatasetSpec, FeatureSpec, Reading, TargetSpec, feature_of, target_of
from disdel.types.words import counted

_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
_AS_GUESSED = ReadOptions()


@dataclass(frozen=True, slots=True, eq=False)
class RawSplit:
    """One split as its source gives it.

    Attributes:
        x: shape (n, *sample), dtype uint8 (then three axes a sample: an image), int32, int64 or
            float32.
        labels: shape (n, *target), int64, text, or float32 where they are numbers with fractions;
            None where there are none, which only samples to predict may lack.
        reading: how they were read.
        names: of samples to predict, one each: a file or a line; empty where they are counted.
        owners: by column of a table that tells whose each sample is, that, (n,) text.
        classified: whether labels are classes whatever they look like, as folders are.
    """

    x: NDArray[Any]
    labels: NDArray[Any] | None
    reading: Reading = field(default_factory=Reading)
    names: tuple[str, ...] = ()
    owners: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    classified: bool = False


Source = Mapping[str, RawSplit]
"""Splits by name: "train" always, "test" and "validation" where the source has them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledSplits:
    """Splits with class numbers, or with numbers to predict.

    Attributes:
        splits: as in the source.
        labels: by split, shape (n, *target): int32, 0 to classes-1; float32 if they are numbers.
        classes: the number of classes; 0 where labels are numbers.
        class_names: one a class, or empty where labels were 0 to classes-1 already.
    """

    splits: Source
    labels: Mapping[str, NDArray[Any]]
    classes: int
    class_names: tuple[str, ...]

    @property
    def reading(self) -> Reading:
        """How the samples were read."""
        return self.splits["train"].reading

    @property
    def feature(self) -> FeatureSpec:
        """The tensor that a sample is."""
        x = self.splits["train"].x
        return feature_of(x.shape[1:], x.dtype.name, from_table=self.reading.table is not None)

    @property
    def target(self) -> TargetSpec:
        """What is learnt of a sample."""
        return target_of(self.classes, self.labels["train"].shape[1:], self.class_names)


def split_name(word: str) -> str | None:
    """The split that a folder, a file or an array of this name holds, or None."""
    return _SPLITS.get(word.lower())


def raw_split(
    x: NDArray[Any],
    labels: NDArray[Any] | None,
    where: str,
    options: ReadOptions = _AS_GUESSED,
    *,
    first: RawSplit | None = None,
) -> RawSplit:
    """Check one split and convert its samples.

    Args:
        x: shape (n, …), any number type (see `arrays.read_new`).
        labels: as for `convert_labels`; None only for samples to predict.
        where: the file, for messages.
        options: what the user says of them.
        first: the training split, as which others are read.

    Raises:
        DatasetError: the arrays are empty, of different lengths, of another type, or hold NaN or
            infinity.
    """
    like = options.like
    if x.ndim == 0 or (labels is not None and labels.ndim == 0) or len(x) == 0:
        raise DatasetError(f"{where} holds no samples")
    if like is not None and labels is None and arrays.is_one_sample(x, like):
        x = x[np.newaxis]
    if labels is not None and len(x) != len(labels):
        raise DatasetError(
            f"{where} holds {counted(len(x), 'sample')} and {counted(len(labels), 'label')}; each "
            "sample needs one"
        )
    if like is not None:
        reading = like.reading
        x = arrays.read_alike(x, where, reading, like.input_dtype, options)
        x = arrays.fitted(x, like, where, options)
    elif first is not None:
        reading = first.reading
        x = arrays.read_alike(x, where, reading, first.x.dtype.name, options)
    else:
        x, reading = arrays.read_new(x, where, options)
    if labels is not None:
        as_said = options.targets == "numbers" and not options.from_code
        if not as_said and (like is None or not like.target.shape):
            check_not_one_hot(plain(labels, f"{where}: labels"), where)
        given, labels = labels, convert_labels(labels, where, options.targets)
        if labels.dtype == np.float32 and like is None:
            check_targets(plain(given, where).ravel(), where, options)
    return RawSplit(x, labels, reading)


def labelled(source: Source, where: str, options: ReadOptions = _AS_GUESSED) -> LabelledSplits:
    """Number the classes over all splits: by value where labels are whole numbers, else by name.

    Labels with fractions are numbers to predict, and so are all labels if the user says so.

    Raises:
        DatasetError: there is no training split, splits disagree in shape or kind of label, labels
            may be numbers to predict as well as classes, or there are fewer than two classes.
    """
    if "train" not in source:
        raise DatasetError(
            f"{where} has no training samples; its splits are {', '.join(source) or 'none'}"
        )
    first = source["train"]
    labels = {name: _required(split, f"{where}, {name}") for name, split in source.items()}
    dtype = common_dtype({split.x.dtype for split in source.values()})
    for name, split in source.items():
        if split.x.shape[1:] != first.x.shape[1:] or dtype is None:
            raise DatasetError(
                f"{where}: samples of 'train' are {_form(first.x)}, those of {name!r} are "
                f"{_form(split.x)}"
            )
    source = {
        name: replace(split, x=_in_dtype(split.x, dtype, f"{where}, {name}", options))
        for name, split in source.items()
    }
    for name, part in labels.items():
        if part.shape[1:] != labels["train"].shape[1:]:
            raise DatasetError(
                f"{where}: labels of 'train' have shape {labels['train'].shape[1:]} a sample, "
                f"those of {name!r} {part.shape[1:]}"
            )
    kinds = {part.dtype.kind for part in labels.values()}
    numbers = options.targets == "numbers"
    if "U" in kinds and (numbers or len(kinds) > 1):
        both = "text" if numbers else "text in one split and numbers in another"
        raise DatasetError(f"{where}: labels are {both}")
    if numbers or "f" in kinds:
        targets = {name: part.astype(np.float32) for name, part in labels.items()}
        _tell_all(targets, options)
        return LabelledSplits(splits=source, labels=targets, classes=0, class_names=())
    labels = dict(_without_an_axis(labels, where, options))
    if labels["train"].ndim > 1:
        for name, part in labels.items():
            check_elements(part, f"{where}, {name}", options)
    together = np.concatenate([part.ravel() for part in labels.values()])
    targets_kind = "classes" if first.classified else options.targets
    check_classes(
        together,
        where,
        targets_kind,
        options.tell,
        is_table=first.reading.table is not None,
        of="samples" if labels["train"].ndim == 1 else "labels",
    )
    _tell_all(labels, options)
    values = np.unique(together)
    if len(values) < 2:
        raise DatasetError(
            f"{where} has one class only ({values[0]}); two are needed to learn anything"
        )
    if unseen := sorted(set(values.tolist()) - set(np.unique(labels["train"]).tolist())):
        options.tell(f"{where}: no training sample is of the classes {', '.join(map(str, unseen))}")
    if values.dtype.kind == "U":
        values = natural_order(values)
    order = np.argsort(values)
    positions = {
        name: order[np.searchsorted(values, part, sorter=order)].astype(np.int32)
        for name, part in labels.items()
    }
    names = tuple(map(str, values))
    trivial = names == tuple(map(str, range(len(names))))
    return LabelledSplits(
        splits=source, labels=positions, classes=len(names), class_names=() if trivial else names
    )


def _in_dtype(
    x: NDArray[Any], dtype: np.dtype[Any] | None, where: str, options: ReadOptions
) -> NDArray[Any]:
    """Samples of one split in the dtype of all."""
    if x.dtype == dtype:
        return x
    return arrays.as_floats(x, where, options) if dtype == np.float32 else x.astype(np.int64)


def _without_an_axis(
    labels: Mapping[str, NDArray[Any]], where: str, options: ReadOptions
) -> Mapping[str, NDArray[Any]]:
    """Classes without a last axis of one, as masks (height, width, 1) have it; that is told."""
    shape = labels["train"].shape[1:]
    if len(shape) < 2 or shape[-1] != 1:
        return labels
    options.tell(f"{where}: classes of {sizes(shape)} are taken as {sizes(shape[:-1])}")
    return {name: part[..., 0] for name, part in labels.items()}


def _required(split: RawSplit, where: str) -> NDArray[Any]:
    if split.labels is None:
        raise DatasetError(f"{where}: no labels")
    return split.labels


def _tell_all(labels: Mapping[str, NDArray[Any]], options: ReadOptions) -> None:
    for name, part in labels.items():
        each = f" of {sizes(part.shape[1:])} labels" if part.ndim > 1 else ""
        options.tell(told_labels(part, f"{name}, {counted(len(part), 'sample')}{each}"))


def targets_alike(labels: NDArray[Any], like: DatasetSpec, where: str) -> NDArray[Any]:
    """Labels of new samples as a data set has them: by name, never by number.

    Args:
        labels: shape (n, *target), as `RawSplit.labels`.
        like: the data set.
        where: the file, for messages.

    Returns:
        Shape (n, *target): the data set's class numbers, int64, or float32 numbers to predict.

    Raises:
        DatasetError: one is none of the data set's classes, or no number, or they are of another
            shape.
    """
    wanted = like.target.shape
    if labels.shape[1:] == (*wanted, 1):
        labels = labels[..., 0]
    if labels.shape[1:] != wanted:
        raise DatasetError(
            f"{where}: labels have shape {labels.shape[1:]} a sample, and those of {like.name} "
            f"have {wanted}; leave labels out to predict without them"
        )
    if not like.classes:
        if labels.dtype.kind == "U":
            raise DatasetError(f"{where}: labels are text, and {like.name} has numbers to predict")
        return labels.astype(np.float32)
    names = like.class_names or tuple(map(str, range(like.classes)))
    numbers = {name: number for number, name in enumerate(names)}
    # Whole numbers that were read as text, or with a fraction of 0.
    numbers |= {
        str(int(name)): number
        for number, name in enumerate(names)
        if name.removeprefix("-").isdigit() and str(int(name)) not in numbers
    }
    if tuple(name.lower() for name in names) == ("false", "true"):
        numbers |= {"0": 0, "1": 1}
    values, places = np.unique(labels, return_inverse=True)
    if unknown := [str(value) for value in values if str(value) not in numbers]:
        raise DatasetError(
            f"{where}: label {unknown[0]!r} is none of the classes of {like.name}: "
            f"{', '.join(names[:10])}{', …' if len(names) > 10 else ''}; leave labels out to "
            "predict without them"
        )
    known = np.array([numbers[str(value)] for value in values], dtype=np.int64)
    return known[places.reshape(labels.shape)]


def natural_order(values: NDArray[Any]) -> NDArray[Any]:
    """Class names, shape (classes,), by value when all are whole numbers, else as they are."""
    try:
        return values[np.argsort(values.astype(np.int64), kind="stable")]
    except (ValueError, OverflowError):
        return values


def _form(x: NDArray[Any]) -> str:
    return f"{'×'.join(map(str, x.shape[1:]))} {x.dtype}"
