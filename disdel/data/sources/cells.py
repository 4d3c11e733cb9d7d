"""The cells of a text table: numbers as people write them, and marks of missing values."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What stands for a missing value in a column of numbers; in a column of texts the second group may
# as well be one of its values.
_ALWAYS_MISSING = frozenset(("", "na", "n/a", "#n/a", "<na>", "nan", "null", "?"))
_MISSING_NUMBERS = _ALWAYS_MISSING | {"none", "nil", "missing", "unknown", "-", "--", "."}

BOOLEANS: tuple[tuple[str, str], ...] = (
    ("false", "true"),
    ("no", "yes"),
    ("f", "t"),
    ("n", "y"),
    ("off", "on"),
)

_DRESS = re.compile(r"(?P<before>[$€£¥]?)\s*(?P<bare>.*?)\s*(?P<after>[$€£¥%]?)", re.DOTALL)
# Spaces and apostrophes part thousands in many countries, and are never decimal marks.
_GROUPED = r"\d{{1,3}}(?:{group}\d{{3}})+|\d{{1,3}}(?:[ \u00a0\u202f'\u2019]\d{{3}})+"
_NUMBER = r"[+-]?(?:(?:" + _GROUPED + r"|\d+)(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?"
_NUMBERS = {
    ".": re.compile(_NUMBER.format(group=",", mark=r"\."), re.ASCII),
    ",": re.compile(_NUMBER.format(group=r"\.", mark=","), re.ASCII),
}
_GROUP_SIGNS = {
    ".": str.maketrans("", "", ",' \u2019\u00a0\u202f"),
    ",": str.maketrans(",", ".", ".' \u2019\u00a0\u202f"),
}
# Either mark may part thousands in these: "1,234" and "1.234".
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ]\d{1,2}:\d{2}.*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    r"([T ]\d{1,2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?",
    re.ASCII,
)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


def undressed(cell: str) -> tuple[str, str]:
    """A cell without a currency or percent sign, and that sign."""
    match = _DRESS.fullmatch(cell)
    assert match is not None  # it matches anything
    return match["bare"], match["before"] or match["after"]


def number_of(cell: str, decimal: str) -> float | None:
    """The number in a cell; None where there is none."""
    bare, _ = undressed(cell)
    if _NUMBERS[decimal].fullmatch(bare) is None:
        return None
    return float(bare.translate(_GROUP_SIGNS[decimal]))


def is_number(cell: str) -> bool:
    """Whether a cell is a number with either decimal mark."""
    return number_of(cell, ".") is not None or number_of(cell, ",") is not None


def is_date(cell: str) -> bool:
    return _DATE.fullmatch(cell) is not None


def is_infinite(cell: str) -> bool:
    return _INFINITE.fullmatch(cell) is not None


def is_missing(cell: str, marks: tuple[str, ...] | None, *, number: bool) -> bool:
    """Whether a cell marks a missing value.

    Args:
        cell: without white space around it.
        marks: texts that do beside blanks; None for the usual ones.
        number: whether the column is one of numbers.
    """
    if marks is not None:
        return not cell or cell in marks
    return cell.lower() in (_MISSING_NUMBERS if number else _ALWAYS_MISSING)


def decimal_marks(cells: Iterable[str]) -> tuple[str | None, str | None, str | None]:
    """A cell that only a point as decimal mark explains, one for a comma, one for either."""
    point = comma = either = None
    for cell in cells:
        bare, _ = undressed(cell)
        if "," not in bare and "." not in bare:
            continue
        if _EITHER.fullmatch(bare) is not None:
            # A point alone is a decimal mark wherever programs write tables.
            either = either or (cell if "," in bare else None)
        elif _NUMBERS["."].fullmatch(bare) is not None:
            point = point or cell
        elif _NUMBERS[","].fullmatch(bare) is not None:
            comma = comma or cell
    return point, comma, either
