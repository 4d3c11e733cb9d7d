"""Columns of a table as numbers: what each is, and what becomes of missing values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.data.sources.cells import (
    BOOLEANS,
    is_date,
    is_infinite,
    is_missing,
    number_of,
    undressed,
)
from disdel.errors import DatasetError
from disdel.types import Column

Floats = NDArray[np.float64]

# More texts than this are hardly categories, and each is a feature of its own.
_MOST_CATEGORIES = 50
# What programs write for a missing number.
_SENTINELS = (-99.0, -999.0, -9999.0, -99999.0)
_TOLD = 5
_EXACT_IN_FLOAT64 = 2**53


@dataclass(slots=True)
class Cells:
    """A column as it is read, block by block: numbers where a block has nothing else.

    `inexact` is a whole number of such a block that is beyond float64, as it was written.
    """

    blocks: list[Floats | list[str]] = field(default_factory=list)
    inexact: str | None = None

    def add(self, cells: list[str], *, decimal: str) -> None:
        """Add the cells of some rows: as float64 where all are plain numbers, else as texts."""
        # Python's numbers may have underscores and the digits of any script; tables' have not.
        joined = "".join(cells) if decimal == "." else "_"
        if joined.isascii() and "_" not in joined:
            try:
                numbers = np.array(cells, dtype=np.float64)
            except ValueError:
                pass
            else:
                if np.isfinite(numbers).all():
                    self.blocks.append(numbers)
                    if self.inexact is None and np.abs(numbers).max() >= _EXACT_IN_FLOAT64:
                        self.inexact = next(filter(_is_inexact, cells), None)
                    return
        self.blocks.append(cells)

    def texts(self) -> Iterator[tuple[int, str]]:
        """The cells of blocks that were not numbers throughout, with their rows."""
        start = 0
        for block in self.blocks:
            if isinstance(block, list):
                yield from enumerate(block, start)
            start += len(block)

    @property
    def has_numbers(self) -> bool:
        return any(not isinstance(block, list) for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Where:
    """A table and its rows' lines in the file, for messages."""

    table: str
    lines: Sequence[int]

    def at(self, row: int) -> str:
        return f"{self.table}, line {self.lines[row]}"


class UnusableColumn(DatasetError):
    """A column that cannot be features; `reason` follows its name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"column {name!r} {reason}")
        self.name = name


def unusable(columns: Sequence[UnusableColumn], where: str) -> DatasetError:
    """The refusal of a table with such columns."""
    said = "; ".join(map(str, columns[:_TOLD]))
    more = f"; and {len(columns) - _TOLD} more" if len(columns) > _TOLD else ""
    drops = " ".join(f"--drop {_quoted(column.name)}" for column in columns)
    return DatasetError(
        f"{where}: {said}{more}. Leave out with {drops}, or write what of that matters as numbers"
    )


@dataclass(frozen=True, slots=True)
class Marks:
    """How cells are read.

    Attributes:
        decimal: the decimal mark.
        missing: what marks a missing value (see `is_missing`).
        fixed: the columns are those of a data set that is there, and none can be left out.
    """

    decimal: str
    missing: tuple[str, ...] | None
    fixed: bool = False


def column_of(name: str, cells: Cells, marks: Marks, where: Where) -> Column | None:
    """What a feature column is; None where it has nothing but missing values.

    Raises:
        UnusableColumn: neither numbers, truth values nor a few categories.
        DatasetError: one cell is no number where the others are.
    """
    numbers, texts = cells.has_numbers, Counter[str]()
    odd: tuple[int, str] | None = None
    signs: dict[str, str] = {}
    for row, cell in cells.texts():
        if number_of(cell, marks.decimal) is not None:
            numbers = True
            signs.setdefault(undressed(cell)[1], cell)
        elif not is_missing(cell, marks.missing, number=False):
            texts[cell] += 1
            if odd is None and not is_missing(cell, marks.missing, number=True):
                odd = (row, cell)
    if numbers:
        if odd is not None:
            raise _no_number(*odd, name, where)
        _check_one_unit(name, signs, cells)
        return Column(name=name, kind="number")
    if not texts:
        return None
    if {text.lower() for text in texts} in map(set, BOOLEANS):
        return Column(name=name, kind="boolean")
    sample, total = next(iter(texts)), texts.total()
    if all(map(is_date, list(texts)[:100])):
        raise UnusableColumn(name, f"holds dates or times ({sample!r}), which are no numbers")
    if all(map(is_infinite, texts)):
        raise UnusableColumn(name, "is infinite throughout")
    if len(texts) > _MOST_CATEGORIES or (2 * len(texts) > total and total >= 10):
        raise UnusableColumn(
            name,
            f"is text, with {len(texts)} different values in {total} rows (as "
            f"{_shortened(sample)!r}): too many to be categories",
        )
    if broken := next((text for text in texts if "\n" in text or "\r" in text), None):
        raise UnusableColumn(
            name, f"has a line break in {_shortened(broken)!r}, where a quote may lack its end"
        )
    return Column(name=name, kind="category", categories=tuple(sorted(texts)))


def _check_one_unit(name: str, signs: dict[str, str], cells: Cells) -> None:
    """Whether the numbers of a column are of one unit.

    Args:
        name: of the column.
        signs: each sign beside numbers, "" for none, and a cell that has it.
        cells: the column.

    Raises:
        UnusableColumn: there are several currencies, or percent beside some numbers only.
    """
    bare = next((f"{block[0]:g}" for block in cells.blocks if not isinstance(block, list)), None)
    if bare is not None:
        signs = {"": bare} | signs
    # An amount without its currency is one all the same.
    units = [sign for sign in signs if sign or "%" in signs]
    if len(units) > 1:
        examples = " and ".join(repr(signs[unit]) for unit in units[:2])
        raise UnusableColumn(name, f"has numbers of different units ({examples})")


def _no_number(
    row: int, cell: str, name: str, where: Where, *, fixed: bool = False
) -> DatasetError:
    if is_infinite(cell):
        return DatasetError(
            f"{where.at(row)}: {cell!r} in column {name!r} is no finite number; replace it, or "
            f"--na {_quoted(cell)} counts it as missing"
        )
    drop = "" if fixed else f", --drop {_quoted(name)} leaves the column out"
    return DatasetError(
        f"{where.at(row)}: {_shortened(cell)!r} is not a number, and column {name!r} has numbers; "
        f"--na {_quoted(cell)} counts it as missing{drop}"
    )


def features_of(column: Column, cells: Cells, marks: Marks, where: Where) -> Floats:
    """A column's features, shape (rows, width), NaN where a value is missing.

    Raises:
        DatasetError: a value is none of such a column.
    """
    if column.kind == "number":
        return np.concatenate(
            [_numbers(column, block, start, marks, where) for start, block in _placed(cells)]
        )[:, np.newaxis]
    places = _places(column)
    found: list[Floats] = []
    for start, block in _placed(cells):
        if not isinstance(block, list):
            raise DatasetError(
                f"{where.at(start)}: {block[0]:g} in column {column.name!r}, which has "
                f"{_known(column)} where the data set was made"
            )
        features = np.full((len(block), column.width), np.nan)
        for row, cell in enumerate(block):
            place = places.get(cell if column.kind == "category" else cell.lower())
            if place is not None:
                features[row] = place
            elif not is_missing(cell, marks.missing, number=False):
                raise DatasetError(
                    f"{where.at(start + row)}: {_shortened(cell)!r} in column {column.name!r}, "
                    f"which has {_known(column)}"
                )
        found.append(features)
    return np.concatenate(found)


def _placed(cells: Cells) -> Iterator[tuple[int, Floats | list[str]]]:
    start = 0
    for block in cells.blocks:
        yield start, block
        start += len(block)


def _numbers(
    column: Column, block: Floats | list[str], start: int, marks: Marks, where: Where
) -> Floats:
    if not isinstance(block, list):
        marks_as_numbers = [number_of(mark, marks.decimal) for mark in marks.missing or ()]
        known = [number for number in marks_as_numbers if number is not None]
        return np.where(np.isin(block, known), np.nan, block) if known else block
    numbers = np.full(len(block), np.nan)
    for row, cell in enumerate(block):
        if is_missing(cell, marks.missing, number=True):
            continue
        number = number_of(cell, marks.decimal)
        if number is not None:
            numbers[row] = number
        else:
            raise _no_number(start + row, cell, column.name, where, fixed=marks.fixed)
    return numbers


def _places(column: Column) -> dict[str, Any]:
    """The features of each text that a column may have."""
    if column.kind == "category":
        return dict(zip(column.categories, np.eye(column.width), strict=True))
    return {word: float(truth) for pair in BOOLEANS for truth, word in enumerate(pair)}


def _known(column: Column) -> str:
    if column.kind == "boolean":
        return "true and false"
    return ", ".join(map(repr, column.categories[:10])) + (", …" if column.width > 10 else "")


def remarks(column: Column, cells: Cells, values: Floats) -> Iterator[str]:
    """What a user should know of a column without complaints; `values` has the shape (rows,)."""
    name = column.name
    if column.kind == "category":
        yield f"column {name!r} is text: a feature of 0 or 1 for each of {_known(column)}"
        return
    if column.kind == "boolean":
        yield f"column {name!r} is 0 for no and 1 for yes"
    signs = {sign for _, cell in cells.texts() if (sign := undressed(cell)[1])}
    if column.kind == "number" and signs:
        yield f"column {name!r}: {' '.join(sorted(signs))} beside its numbers left out"
    known = values[np.isfinite(values)]
    if len(known) and known.min() == known.max():
        yield f"column {name!r} is {known[0]:g} throughout"
    elif (sentinel := sentinel_in(known)) is not None:
        yield (
            f"column {name!r} has {sentinel:g} in {int((known == sentinel).sum())} rows, which "
            f"often marks a missing value: --na {sentinel:g} counts it as one"
        )


def sentinel_in(known: Floats) -> float | None:
    """The least of some numbers, shape (n,), where it may mark a missing value, as -999."""
    if not len(known) or (least := float(known.min())) not in _SENTINELS:
        return None
    others = known[known != least]
    return least if len(others) and others.min() > least / 2 else None


def _is_inexact(cell: str) -> bool:
    digits = cell.removeprefix("-")
    return digits.isdigit() and int(float(digits)) != int(digits)


def _shortened(cell: str) -> str:
    return cell if len(cell) <= 40 else f"{cell[:40]}…"


def _quoted(text: str) -> str:
    """A word for a shell."""
    return text if text.replace("_", "").isalnum() else repr(text)
