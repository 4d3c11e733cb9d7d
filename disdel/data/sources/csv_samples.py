"""From the columns of a table to its samples: missing values, exactness, labels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from disdel.data.sources.cells import is_infinite, is_missing, number_of
from disdel.data.sources.csv_columns import Cells, Floats, Where
from disdel.data.sources.csv_text import Row
from disdel.data.sources.integers import whole_or_none
from disdel.data.sources.labels import convert_labels
from disdel.data.sources.rounding import check_exact, check_targets
from disdel.data.sources.samples import RawSplit
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions
from disdel.types import Reading, TableLayout

# Rows that are parsed at a time.
BLOCK_ROWS = 2000
SHOWN_COLUMNS = 8
_POLICIES = (
    "--missing drop leaves such rows out, --missing mean fills numbers with the mean that their "
    "column has in the training split"
)


@dataclass(frozen=True, slots=True)
class Grid:
    """The columns of a table, the label's cells as texts, and so `owners`, by their places."""

    columns: list[Cells]
    labels: list[str]
    where: Where
    owners: dict[int, list[str]]


def read_grid(
    head: list[Row],
    more: Iterator[Row],
    width: int,
    label: int | None,
    decimal: str,
    where: str,
    owners: Collection[int] = (),
) -> Grid:
    """Read the rows.

    Args:
        head: the first rows.
        more: those after them.
        width: how many columns each has.
        label: the place of the label's column, if there is one.
        decimal: the decimal mark.
        where: the table, for messages.
        owners: the places of columns that tell whose a row is.

    Raises:
        DatasetError: a row has another number of columns, or there are none.
    """
    if not head:
        raise DatasetError(f"{where} holds no samples: it has a header and nothing below")
    columns = [Cells() for _ in range(width)]
    labels: list[str] = []
    owned: dict[int, list[str]] = {place: [] for place in owners}
    lines: list[int] = []
    block = head
    while block:
        for number, cells in block:
            if len(cells) != width:
                raise DatasetError(
                    f"{where}, line {number}: {len(cells)} columns, where the first line has "
                    f"{width}; name another delimiter with --delimiter, or mend the line"
                )
        lines += [number for number, _ in block]
        for place, column in enumerate(zip(*(cells for _, cells in block), strict=True)):
            if place == label:
                labels += column
            elif place in owned:
                owned[place] += column
            else:
                columns[place].add(list(column), decimal=decimal)
        block = list(islice(more, BLOCK_ROWS))
    return Grid(columns, labels, Where(where, lines), owned)


def samples_of(
    grid: Grid, layout: TableLayout, values: list[Floats], options: ReadOptions
) -> RawSplit:
    """The samples of a table whose columns are known.

    With `missing` "mean", numbers that are missing are NaN, until `filling` fills them.

    Args:
        grid: the table.
        layout: what its columns are.
        values: the features of each of `layout.columns`, shape (rows, width), NaN where missing.
        options: `missing`, `rounded`, `targets`, `like` and `tell` of it.

    Raises:
        DatasetError: values are missing, whole numbers do not stay apart in float32, or labels are
            none; the message says where.
    """
    where, alike = grid.where, options.like is not None
    x = np.concatenate(values, axis=1)
    names = [column.name for column in layout.columns for _ in range(column.width)]
    if remark := check_exact(x, names, where.table, options):
        options.tell(remark)
    # Which samples train is known later only, and with them the means.
    awaits_means = options.missing == "mean" and not alike
    if awaits_means:
        layout = _with_no_category(layout)
    x = _filled(layout, x, options)
    owned = {layout.names[place]: np.array(cells) for place, cells in grid.owners.items()}
    blank = [is_missing(label, layout.missing_marks, number=False) for label in grid.labels]
    # A table to predict may have no label yet, in its column.
    labelled = bool(blank) and not (alike and all(blank))
    missing = np.zeros_like(x, dtype=bool) if awaits_means else np.isnan(x)
    nobodys = {
        name: np.array([is_missing(cell, layout.missing_marks, number=False) for cell in cells])
        for name, cells in owned.items()
    }
    blanks = np.array(blank) if labelled else None
    kept = _complete(layout, missing, blanks, nobodys, where, options)
    lines = np.asarray(where.lines)[kept]
    if not alike:
        left_out = len(x) - len(kept)
        options.tell(f"{len(x)} rows, {f'{left_out} of them left out' if left_out else 'all read'}")
    labels = [grid.labels[row] for row in kept] if labelled else []
    return RawSplit(
        x=_stored(x[kept], where.table, lines),
        labels=_labels(labels, layout.decimal, where.table, lines, options) if labels else None,
        reading=Reading(table=layout),
        names=tuple(f"line {line}" for line in lines) if alike else (),
        owners={name: cells[kept] for name, cells in owned.items()},
    )


def _with_no_category(layout: TableLayout) -> TableLayout:
    """With none of its categories where one is missing."""
    columns = [
        replace(column, fill=0.0) if column.kind == "category" else column
        for column in layout.columns
    ]
    return replace(layout, columns=tuple(columns))


def _filled(layout: TableLayout, x: Floats, options: ReadOptions) -> Floats:
    """With what is known to take the place of missing values."""
    x = x.copy()
    start = numbers = categories = 0
    for column in layout.columns:
        part = x[:, start : start + column.width]
        start += column.width
        missing = np.isnan(part)
        if column.fill is None or not missing.any():
            continue
        part[missing] = column.fill
        if column.kind == "category":
            categories += int(missing[:, 0].sum())
        else:
            numbers += int(missing.sum())
    if numbers:
        options.tell(
            f"{numbers} missing numbers filled with the mean that their column has in the training "
            "split"
        )
    if categories:
        options.tell(f"{categories} missing categories taken as none of their column's")
    return x


def _complete(
    layout: TableLayout,
    missing: NDArray[np.bool_],
    blank: NDArray[np.bool_] | None,
    nobodys: Mapping[str, NDArray[np.bool_]],
    where: Where,
    options: ReadOptions,
) -> NDArray[np.intp]:
    """The rows that lack nothing.

    Args:
        layout: what the columns are.
        missing: the features that are missing, shape (rows, features).
        blank: the labels that are, shape (rows,); None where none is wanted.
        nobodys: by column that tells whose a row is, where it does not, (rows,).
        where: the table, for messages.
        options: `missing`, `like` and `tell` of it.

    Raises:
        DatasetError: others are not to be left out, or all lack something.
    """
    lacking = missing.any(axis=1) if blank is None else missing.any(axis=1) | blank
    for without in nobodys.values():
        lacking = lacking | without
    if not lacking.any():
        return np.arange(len(missing))
    counts = {}
    start = 0
    for column in layout.columns:
        counts[column.name] = int(missing[:, start].sum())
        start += column.width
    if blank is not None and layout.label is not None:
        counts[layout.label] = int(blank.sum())
    counts |= {name: int(without.sum()) for name, without in nobodys.items()}
    told = some([f"{name!r} ×{count}" for name, count in counts.items() if count])
    if options.like is not None or options.missing == "refuse":
        at, more = where.at(int(np.argmax(lacking))), int(lacking.sum()) - 1
        how = "" if options.like is not None else f"; {_POLICIES}"
        others = f", and {more} more" if more else ""
        raise DatasetError(f"{at}{others}: values are missing: {told}{how}")
    options.tell(f"rows with missing values are left out: {told}")
    if lacking.all():
        raise DatasetError(f"{where.table} holds no samples without missing values")
    return np.flatnonzero(~lacking)


def _stored(
    x: Floats, table: str, lines: NDArray[np.int64]
) -> NDArray[np.int32] | NDArray[np.float32]:
    """Features as integers where all are whole and exact in float32 as well; else as float32."""
    if (whole := whole_or_none(x)) is not None:
        return whole
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(x, dtype=np.float32)
    finite = (np.isfinite(values) | np.isnan(x)).all(axis=1)
    if not finite.all():
        raise DatasetError(
            f"{table}, line {lines[int(np.argmin(finite))]}: a number is beyond float32"
        )
    return values


def _labels(
    texts: list[str], decimal: str, table: str, lines: NDArray[np.int64], options: ReadOptions
) -> NDArray[np.generic]:
    """Labels as numbers where all are plain numbers, else as text."""
    for text, line in zip(texts, lines, strict=True):
        if "\n" in text or "\r" in text:
            raise DatasetError(
                f"{table}, line {line}: the label has a line break; a quote may lack its end"
            )
        if is_infinite(text):
            raise DatasetError(f"{table}, line {line}: the label is not finite: {text!r}")
    numbers = [_plain_number(text, decimal) for text in texts]
    known = [number for number in numbers if number is not None]
    if len(known) < len(texts):
        if options.targets == "numbers":
            wrong = next(place for place, number in enumerate(numbers) if number is None)
            raise DatasetError(f"{table}, line {lines[wrong]}: {texts[wrong]!r} is not a number")
        return convert_labels(np.array(texts), table)
    values = np.array(known)
    if np.abs(values).max() >= 2**53 and options.targets != "numbers":
        return convert_labels(np.array(texts), table)
    labels = convert_labels(values, table, options.targets)
    if labels.dtype == np.float32 and options.like is None:
        check_targets(values, table, options)
    return labels


def _plain_number(text: str, decimal: str) -> float | None:
    digits = text.removeprefix("-")
    if len(digits) > 1 and digits[0] == "0" and digits.isdigit():
        return None  # 007 is a name, and another than 7
    return number_of(text, decimal)


def some(names: Sequence[str]) -> str:
    """The first few, for people."""
    return ", ".join(names[:SHOWN_COLUMNS]) + (", …" if len(names) > SHOWN_COLUMNS else "")
