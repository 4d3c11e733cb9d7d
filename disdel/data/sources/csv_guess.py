"""What the first rows of a table say: header or none, decimal mark, label column.

Each guess is told. Where the rows speak for two answers, both are named and the user is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from disdel.data.sources.cells import decimal_marks, is_number
from disdel.errors import DatasetError

Rows = Sequence[Sequence[str]]

_LABEL_NAMES = ("label", "labels", "target", "targets")
# Features have these names too: passenger classes, coordinates.
_WEAK_LABEL_NAMES = ("class", "classes", "y")


def guess_header(rows: Rows, where: str) -> bool:
    """Whether the first of `rows` names the columns.

    Raises:
        DatasetError: it may as well be a sample.
    """
    first, *rest = rows
    if not rest:
        return not any(map(is_number, first))
    below = [[row[column] for row in rest if row[column]] for column in range(len(first))]
    numeric = [bool(cells) and all(map(is_number, cells)) for cells in below]
    names = [cell for cell, is_numeric in zip(first, numeric, strict=True) if is_numeric]
    numbers = [cell for cell in names if is_number(cell)]
    texts = [
        cell not in cells
        for cell, cells, is_numeric in zip(first, below, numeric, strict=True)
        if not is_numeric
    ]
    if any(cell and not is_number(cell) for cell in names):
        # A text over numbers is a name, and numbers beside it are at most years or positions.
        if not numbers or _could_be_names(numbers):
            return True
        raise _ambiguous(first, where)
    if not numbers:
        return bool(texts) and all(texts)
    if _count_up(numbers):
        if texts and all(texts):
            return True
        if not texts and len(numbers) > 2:
            raise _ambiguous(first, where)
    repeats = any(
        len(set(cells)) < len(cells)
        for cells, is_numeric in zip(below, numeric, strict=True)
        if not is_numeric
    )
    if texts and all(texts) and repeats and _could_be_names(numbers) and len(numbers) > 1:
        raise _ambiguous(first, where)
    return False


def _ambiguous(first: Sequence[str], where: str) -> DatasetError:
    shown = ", ".join(first[:6]) + (", …" if len(first) > 6 else "")
    return DatasetError(
        f"{where}: the first line ({shown}) may name the columns or be a sample; say which with "
        "--header or --no-header"
    )


def _could_be_names(numbers: Sequence[str]) -> bool:
    return all(map(str.isdigit, numbers)) and len(set(numbers)) == len(numbers)


def _count_up(numbers: Sequence[str]) -> bool:
    """Whether they are 0, 1, 2, … or 1, 2, 3, …, as pandas and spreadsheets number columns."""
    counted = [list(map(str, range(start, start + len(numbers)))) for start in (0, 1)]
    return list(numbers) in counted


def guess_decimal(cells: Iterable[str], where: str) -> str:
    """The decimal mark.

    Raises:
        DatasetError: numbers speak for both, or a mark may as well part thousands.
    """
    point, comma, either = decimal_marks(cells)
    if comma is not None and point is not None:
        raise DatasetError(
            f"{where} has numbers with a decimal point ({point}) and with a decimal comma "
            f"({comma}); say which is right with --decimal . or --decimal ,"
        )
    if comma is None and point is None and either is not None:
        raise DatasetError(
            f"{where}: {either!r} may be a decimal number or have a sign between thousands; say "
            "which mark is the decimal one with --decimal . or --decimal ,"
        )
    return "," if comma is not None else "."


def column_named(names: Sequence[str], wanted: str, option: str, where: str) -> int:
    """The position of the column that a user named.

    Raises:
        DatasetError: there is none.
    """
    if wanted in names:
        return names.index(wanted)
    folded = [name.casefold() for name in names]
    if folded.count(wanted.casefold()) == 1:
        return folded.index(wanted.casefold())
    shown = ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "")
    raise DatasetError(f"{where} has no column {wanted!r} for {option}; its columns are {shown}")


def names_in(cells: Sequence[str], where: str) -> tuple[str, ...]:
    """The names in a header; a column without one is called by its position.

    Raises:
        DatasetError: two columns have one name.
    """
    # numpy.savetxt marks the header as a comment.
    cells = [cells[0].removeprefix("#").strip(), *cells[1:]]
    names = [cell or f"unnamed {place}" for place, cell in enumerate(cells, start=1)]
    double = [name for place, name in enumerate(names) if name in names[:place]]
    if double:
        raise DatasetError(f"{where} has several columns called {double[0]!r}: rename all but one")
    return tuple(names)


def guess_label(names: Sequence[str], rows: Rows, where: str) -> tuple[int, str]:
    """The label column, and why it is that.

    Raises:
        DatasetError: two columns may be it.
    """
    lower = [name.lower() for name in names]
    last = len(names) - 1
    strong = [place for place, name in enumerate(lower) if name in _LABEL_NAMES]
    if len(strong) > 1:
        raise _which(names, strong, where)
    if strong:
        return strong[0], "by its name"
    weak = [place for place, name in enumerate(lower) if name in _WEAK_LABEL_NAMES]
    if last in weak:
        return last, "by its name"
    texts = [
        place
        for place in range(len(names))
        if not all(is_number(row[place]) for row in rows if row[place])
    ]
    if not weak:
        fractions = any("." in row[last] or "," in row[last] for row in rows)
        if len(texts) == 1 and fractions and _are_classes(row[texts[0]] for row in rows):
            raise _which(names, [texts[0], last], where)
        return last, "the last column (--label COLUMN names another)"
    coordinates = lower[weak[0]] == "y" and ({"x", "z"} & set(lower))
    if len(weak) == 1 and not coordinates and (weak == [0] or texts == weak):
        return weak[0], "by its name"
    raise _which(names, [*weak, last], where)


def _are_classes(texts: Iterable[str]) -> bool:
    counts = Counter(texts)
    return len(counts) > 1 and 5 * len(counts) <= counts.total()


def _which(names: Sequence[str], places: Sequence[int], where: str) -> DatasetError:
    either = " or ".join(repr(names[place]) for place in places)
    return DatasetError(f"{where}: the label may be {either}; say which with --label COLUMN")
