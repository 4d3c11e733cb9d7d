"""Labels as a source has them: brought to class numbers, or to numbers to predict."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.data.sources.csv_columns import sentinel_in
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions, TargetKind, Tell

Labels = NDArray[Any]

# Whole numbers of more different values than this, with fewer samples each than that, are hardly
# classes.
_MANY_CLASSES = 20
_FEW_SAMPLES_EACH = 5
_SHOWN = 10


def convert_labels(labels: Labels, where: str, targets: TargetKind | None = None) -> Labels:
    """Labels, shape (n, *target): int64, text, or float32 where they are numbers.

    Args:
        labels: shape (n, *target), numbers or text; (n, 1) is one a sample.
        where: the file, for messages.
        targets: what they are, where the user says so.

    Raises:
        DatasetError: one is missing, of no such type, or not finite.
    """
    labels = plain(labels, f"{where}: labels")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if not labels.size:
        raise DatasetError(f"{where}: labels of shape {labels.shape} are empty")
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError as error:
            raise DatasetError(f"{where}: labels are bytes that are not UTF-8: {error}") from error
    if labels.dtype.kind == "U":
        if targets == "numbers":
            raise DatasetError(f"{where}: labels are text; numbers are needed")
        return _texts(labels, where)
    if labels.dtype.kind not in "fiub":
        raise DatasetError(
            f"{where}: labels are of type {labels.dtype}; numbers or text are needed"
        )
    if labels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            values = labels.astype(np.float32)
        if not np.isfinite(values).all():
            place = int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(axis=1)))
            odd = labels[place][~np.isfinite(values[place])].flat[0]
            raise DatasetError(
                f"{where}: labels are not all finite ({odd} is among them, at sample "
                f"{place}, counted from 0)"
            )
        if targets == "numbers":
            return values
        if (labels != np.floor(labels)).any():
            return _texts(labels.astype("U"), where) if targets == "classes" else values
        if np.abs(labels).max(initial=0) >= 2**63:
            plain_texts = np.array([f"{label:.0f}" for label in labels.flat])
            return _texts(plain_texts.reshape(labels.shape), where)
    if targets == "numbers":
        return labels.astype(np.float32)
    if labels.dtype.kind == "u" and labels.size and labels.max() >= 2**63:
        return labels.astype("U")
    return labels.astype(np.int64)


def plain(values: NDArray[Any], what: str) -> NDArray[Any]:
    """An array of Python objects as one of numbers, truth values or text, of the same shape.

    Raises:
        DatasetError: they are not all of one such kind.
    """
    if values.dtype.kind != "O":
        return values
    flat = values.ravel()
    kinds = Counter(type(value).__name__ for value in flat)
    if all(isinstance(value, str) for value in flat):
        return values.astype("U")
    if all(isinstance(value, int | float | np.number | np.bool_) for value in flat):
        whole = all(isinstance(value, int | np.integer | np.bool_) for value in flat)
        try:
            return values.astype(np.int64 if whole else np.float64)
        except OverflowError:
            return values.astype(np.float64)
    rarest = min(kinds, key=lambda kind: kinds[kind])
    example = next(value for value in flat if type(value).__name__ == rarest)
    raise DatasetError(
        f"{what} are Python objects of types {', '.join(sorted(kinds)[:5])}, as {example!r}; "
        "numbers or texts of one kind are needed"
    )


def sizes(shape: tuple[int, ...]) -> str:
    """A shape for people."""
    return "×".join(map(str, shape))


def check_not_one_hot(labels: Labels, where: str) -> None:
    """Refuse labels, shape (n, *target), that say by a 1 among zeros which class it is.

    Raises:
        DatasetError: they do; the message says what to give.
    """
    if labels.ndim < 2 or labels.shape[-1] < 2 or labels.dtype.kind not in "fiub":
        return
    ones = labels == 1
    if (ones | (labels == 0)).all() and (ones.sum(axis=-1) == 1).all():
        axis = 1 if labels.ndim == 2 else -1
        raise DatasetError(
            f"{where}: labels have shape {labels.shape}, which is {sizes(labels.shape[1:])} a "
            f"sample, and these rows are one-hot: give y.argmax(axis={axis}), the classes' numbers"
        )


def check_elements(labels: Labels, where: str, options: ReadOptions) -> None:
    """Whether whole numbers, shape (n, *target) with axes, may be a class for each element.

    Raises:
        DatasetError: some are below 0, which a loss might leave out, and the user has not said that
            they are classes.
    """
    said = options.targets == "classes" and not options.from_code
    if said or labels.dtype.kind != "i" or labels.min() >= 0:
        return
    if options.from_code:
        instead = "or return floats if they are numbers to predict"
    else:
        instead = "or say --regression if they are numbers, --classification if they are classes"
    raise DatasetError(
        f"{where}: labels go down to {labels.min()}, and classes count from 0: elements that a "
        "loss is to leave out (as -1 and -100 often mark) have no mark here. Give them a class of "
        f"their own and let your loss weigh it with 0, {instead}"
    )


def _texts(labels: Labels, where: str) -> Labels:
    """Texts in one Unicode form, without white space around them.

    Raises:
        DatasetError: one is blank or has a line break.
    """
    texts = [unicodedata.normalize("NFC", str(label)).strip() for label in labels.flat]
    for place, text in enumerate(texts):
        if not text or "\n" in text or "\r" in text:
            what = "has a line break" if text else "is blank"
            raise DatasetError(
                f"{where}: the label of sample {place * len(labels) // labels.size} (counted from "
                f"0) {what}"
            )
    return np.array(texts).reshape(labels.shape)


def check_classes(
    labels: Labels,
    where: str,
    targets: TargetKind | None,
    tell: Tell,
    *,
    is_table: bool,
    of: str = "samples",
) -> None:
    """Whether labels, int64 or text, may be classes; odd ones are told.

    Args:
        labels: shape (n,), of all elements where a sample has several.
        where: the file, for messages.
        targets: what the user says that they are.
        tell: is told.
        is_table: whether they come from a table, whose label can be another column.
        of: what has one each, for messages.

    Raises:
        DatasetError: they look like numbers to predict, or names of single samples, and the user
            has not said that they are classes; or one looks like a mark of a missing value.
    """
    values, counts = np.unique(labels, return_counts=True)
    whole = labels.dtype.kind == "i"
    if not whole:
        folded = Counter(str(value).casefold() for value in values)
        for alike in (name for name, count in folded.items() if count > 1):
            names = " and ".join(repr(str(v)) for v in values if str(v).casefold() == alike)
            tell(f"classes {names} differ in case only, and are taken as different ones")
    if targets == "classes":
        return
    if len(values) > _MANY_CLASSES and len(labels) < _FEW_SAMPLES_EACH * len(values):
        kind = "whole numbers" if whole else "texts"
        numbers = "--regression if they are numbers to predict, " if whole else ""
        raise DatasetError(
            f"{where}: the labels are {len(values)} different {kind} in {len(labels)} {of}, too "
            f"few each to be classes; say {numbers}--classification if they are classes"
            + (", or name another label with --label" if is_table else "")
        )
    if whole and (mark := sentinel_in(values.astype(np.float64))) is not None:
        count = int(counts[values == mark][0])
        missing = f"say --na {mark:g} --missing drop" if is_table else "leave these samples out"
        raise DatasetError(
            f"{where}: {count} labels are {mark:g}, which often marks a missing value; {missing} "
            "if it does, or say --classification if it is a class"
        )


def told_labels(labels: Labels, where: str) -> str:
    """Classes with their samples, or the range of numbers, for people."""
    if labels.dtype.kind == "f":
        return (
            f"{where}: numbers to predict, {labels.min():g} to {labels.max():g}, mean "
            f"{labels.mean():g}"
        )
    values, counts = np.unique(labels, return_counts=True)
    shown = ", ".join(
        f"{value} ×{count}" for value, count in zip(values[:_SHOWN], counts[:_SHOWN], strict=True)
    )
    more = ", …" if len(values) > _SHOWN else ""
    return f"{where}: {len(values)} classes: {shown}{more}"
