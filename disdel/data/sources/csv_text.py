"""From the bytes of a table to its rows of cells: encoding, delimiter, quotes."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import IO

from disdel.data.sources.cells import is_number
from disdel.data.sources.files import FileTree, open_maybe_gzipped
from disdel.errors import DatasetError

Row = tuple[int, list[str]]
"""A row's number in the file, where it ends, and its cells."""

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DELIMITERS = (",", ";", "\t", "|")
_DELIMITER_NAMES = {
    ",": "comma",
    ";": "semicolon",
    "\t": "tab",
    "|": "vertical bar",
    "space": "space",
}
_SAMPLED_LINES = 200
_EXCEL = re.compile(r"sep=(.)\s*$", re.IGNORECASE)
_BLOCK_BYTES = 1 << 20


def delimiter_named(text: str) -> str:
    """A delimiter as a user names it: a character, "tab" or "space".

    Raises:
        DatasetError: it is none.
    """
    named = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", " ": "space"}
    delimiter = named.get(text, text)
    if delimiter != "space" and len(delimiter) != 1:
        raise DatasetError(f"--delimiter {text!r} must be one character, or tab, or space")
    return delimiter


def delimiter_name(delimiter: str) -> str:
    """A delimiter for people."""
    return _DELIMITER_NAMES.get(delimiter, repr(delimiter))


@contextmanager
def open_text(tree: FileTree, name: str, encoding: str) -> Iterator[IO[str]]:
    """A file as text.

    Raises:
        DatasetError: it is not of that encoding, or no table.
    """
    where = f"{tree.label}/{name}"
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise DatasetError(f"--encoding {encoding!r} is not known to Python") from error
    try:
        with (
            open_maybe_gzipped(tree, name) as raw,
            io.TextIOWrapper(raw, encoding=encoding, newline="") as text,
        ):
            yield text
    except UnicodeError as error:
        raise DatasetError(
            f"{where} is not a CSV table in {encoding}: {error}; name another with --encoding"
        ) from error
    except csv.Error as error:
        raise DatasetError(f"{where} is not a CSV table: {error}") from error


def guess_encoding(tree: FileTree, name: str) -> str:
    """The encoding of a text file: by its byte order mark, UTF-8, or that of western Windows.

    Raises:
        DatasetError: it is no text.
    """
    with open_maybe_gzipped(tree, name) as raw:
        head = raw.read(_BLOCK_BYTES)
        for mark, encoding in _BOMS:
            if head.startswith(mark):
                return encoding
        if 0 in head:
            # Of most letters in UTF-16, one byte of two is 0.
            for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
                if head[first:200:2].count(0) > head[:200].count(0) * 0.9 > 20:
                    return encoding
            raise DatasetError(f"{tree.label}/{name} is not a CSV table: it has NUL bytes")
        decoder = codecs.getincrementaldecoder("utf-8")()
        block = head
        try:
            while block:
                decoder.decode(block)
                block = raw.read(_BLOCK_BYTES)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


@dataclass(slots=True)
class Blanks:
    """The lines of a table that have nothing but blanks: how many, and the first one's number.

    Empty lines count where a row follows them: those at the end are no part of a table.
    """

    count: int = 0
    first: int = 0

    def add(self, number: int, count: int = 1) -> None:
        """Note `count` lines, the first of them `number`."""
        self.first = self.first or number
        self.count += count

    def told(self, where: str) -> str:
        """A sentence on them, where there are any."""
        lines = f"line {self.first} has" if self.count == 1 else f"{self.count} lines have"
        first = "" if self.count == 1 else f", the first is line {self.first}"
        return f"{where}: {lines} nothing but blanks, left out{first}"


def rows(text: IO[str], delimiter: str, blanks: Blanks | None = None) -> Iterator[Row]:
    """The rows that are not blank, their cells without white space around them.

    Args:
        text: the table.
        delimiter: a character, or "space" for any white space.
        blanks: is told the others.
    """
    if delimiter == "space":
        split: Iterator[Row] = ((number, line.split()) for number, line in enumerate(text, start=1))
    else:
        reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True)
        split = ((reader.line_num, _plain(cells)) for cells in reader)
    blanks = blanks or Blanks()
    first_empty = empty = 0
    for number, cells in split:
        if len(cells) <= 1 and not any(cells):
            first_empty = first_empty or number
            empty += 1
            continue
        if empty:
            blanks.add(first_empty, empty)
            first_empty = empty = 0
        if any(cells):
            yield number, cells
        else:
            blanks.add(number)


def _plain(cells: list[str]) -> list[str]:
    """Cells in the one Unicode form, without white space around them."""
    cells = [cell.strip() for cell in cells]
    if not "".join(cells).isascii():
        cells = [unicodedata.normalize("NFC", cell) for cell in cells]
    return cells


def guess_delimiter(text: IO[str]) -> str:
    """The delimiter with which the first lines have one number of columns; a comma in doubt."""
    lines = list(islice(text, _SAMPLED_LINES))
    if lines and (named := _EXCEL.match(lines[0])):
        return delimiter_named(named[1])
    found: list[tuple[float, float, str]] = []
    for delimiter in _DELIMITERS:
        table = [cells for _, cells in rows(io.StringIO("".join(lines), newline=""), delimiter)]
        widths = Counter(map(len, table)).most_common(1)
        if not widths or widths[0][0] < 2:
            continue
        cells = [cell for row in table for cell in row]
        numbers = sum(map(is_number, cells)) / len(cells)
        found.append((widths[0][1] / len(table), numbers, delimiter))
    # Where several would do, that which leaves numbers whole; `max` takes the first of equals.
    return max(found, key=lambda one: one[:2], default=(0, 0, ","))[2]
