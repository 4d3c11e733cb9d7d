"""CSV tables: one sample a line, one column with the label, numbers in all others.

The label column is the one named label, class, target or y, else the last. `train.csv` with
`test.csv` are two splits; a table alone is a training split.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.catalog.datasets.sources.files import FileTree, open_maybe_gzipped
from disdel.catalog.datasets.sources.samples import RawSplit, Source, raw_split, split_name
from disdel.errors import DatasetError

_LABEL_NAMES = ("label", "class", "target", "y")


def matches(tree: FileTree) -> bool:
    return any(_is_csv(name) for name in tree.names)


def read(tree: FileTree) -> Source:
    """Read the table or tables of `tree`.

    Raises:
        DatasetError: tables cannot be told apart, a line has another number of columns than the
            first, or a feature is not a number.
    """
    tables = [name for name in tree.names if _is_csv(name)]
    if len(tables) == 1:
        return {"train": _read_table(tree, tables[0])}
    splits: dict[str, RawSplit] = {}
    for name in tables:
        split = split_name(PurePosixPath(name).name.split(".", 1)[0])
        if split is None or split in splits:
            raise DatasetError(
                f"{tree.label} holds several tables: {', '.join(tables)}; needed is one, or "
                "train.csv and test.csv"
            )
        splits[split] = _read_table(tree, name)
    return splits


def _is_csv(name: str) -> bool:
    return name.lower().endswith((".csv", ".csv.gz"))


def _read_table(tree: FileTree, name: str) -> RawSplit:
    where = f"{tree.label}/{name}"
    with (
        open_maybe_gzipped(tree, name) as raw,
        io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text,
    ):
        try:
            return _parse(_lines(csv.reader(text)), where)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"{where} is not a CSV table: {error}") from error


def _lines(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers in the file."""
    return ((reader.line_num, fields) for fields in reader if fields)


def _parse(lines: Iterator[tuple[int, list[str]]], where: str) -> RawSplit:
    number, first = next(lines, (0, []))
    if len(first) < 2:
        raise DatasetError(
            f"{where} is not a table of features and a label: it has {len(first)} columns"
        )
    header = [field.strip().lower() for field in first]
    named = next((header.index(name) for name in _LABEL_NAMES if name in header), None)
    label_column = len(first) - 1 if named is None else named
    labels: list[str] = []
    rows: list[NDArray[np.float32]] = []
    features = [field for column, field in enumerate(first) if column != label_column]
    if named is None and any(_is_number(field) for field in features):
        labels.append(first[label_column].strip())
        rows.append(_numbers(first, label_column, number, where))
    for number, fields in lines:
        if len(fields) != len(first):
            raise DatasetError(
                f"{where}, line {number}: {len(fields)} columns, where the first line has "
                f"{len(first)}"
            )
        labels.append(fields[label_column].strip())
        rows.append(_numbers(fields, label_column, number, where))
    if not rows:
        raise DatasetError(f"{where} holds no samples")
    return raw_split(np.stack(rows), _labels(labels), where)


def _numbers(
    fields: Sequence[str], label_column: int, number: int, where: str
) -> NDArray[np.float32]:
    features = [*fields[:label_column], *fields[label_column + 1 :]]
    try:
        return np.array(features, dtype=np.float32)
    except ValueError:
        wrong = next(field for field in features if not _is_number(field))
        raise DatasetError(
            f"{where}, line {number}: {wrong!r} is not a number; only the label may be text"
        ) from None


def _labels(labels: list[str]) -> NDArray[Any]:
    """Labels as numbers where all are numbers, else as text."""
    for dtype in (np.int64, np.float64):
        try:
            return np.array(labels).astype(dtype)
        except ValueError:
            continue
    return np.array(labels)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
