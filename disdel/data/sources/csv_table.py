"""CSV tables: one sample a line, one column with the label, features in the others.

`train.csv` with `test.csv` are two splits; a table alone is a training split. What a table is (see
`TableLayout`) is told by the user or guessed from the training table, which is told; other tables
are then read by it, those for inference as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import PurePosixPath

import numpy as np

from disdel.data.sources.csv_alike import plain_layout, read_alike
from disdel.data.sources.csv_columns import (
    Floats,
    Marks,
    UnusableColumn,
    column_of,
    features_of,
    remarks,
    unusable,
)
from disdel.data.sources.csv_guess import (
    column_named,
    guess_decimal,
    guess_header,
    guess_label,
    names_in,
)
from disdel.data.sources.csv_samples import BLOCK_ROWS, SHOWN_COLUMNS, read_grid, samples_of, some
from disdel.data.sources.csv_text import (
    Blanks,
    Row,
    delimiter_name,
    delimiter_named,
    guess_delimiter,
    guess_encoding,
    open_text,
    rows,
)
from disdel.data.sources.files import FileTree
from disdel.data.sources.rounding import inexact_numbers
from disdel.data.sources.samples import RawSplit, Source, split_name
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions, Tell
from disdel.types import TableLayout
from disdel.types.words import counted

_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".tab")
# A column of fewer rows may count them by chance.
_FEWEST_COUNTED = 10
_INDEX_NAMES = ("row", "rows", "rownames", "no", "nr", "#")
_ID_ENDINGS = ("id", "index", "idx")
_SHOWN_ROWS = 3
# What guesses are made from.
_SAMPLED_CELLS = 100_000
_FEWEST_SAMPLED_ROWS = 50


def matches(tree: FileTree) -> bool:
    return any(_is_table(name) for name in tree.names)


def read(tree: FileTree, options: ReadOptions) -> Source:
    """Read the table or tables of `tree`.

    Raises:
        DatasetError: tables cannot be told apart, or one cannot be read as it is; the message says
            where and what to do.
    """
    tables = [name for name in tree.names if _is_table(name)]
    if others := len(tree.names) - len(tables):
        options.tell(f"{counted(others, 'file')} beside the tables left out")
    if len(tables) == 1:
        return {"train": _read_table(tree, tables[0], options)}
    by_split: dict[str, str] = {}
    for name in tables:
        split = split_name(PurePosixPath(name).name.split(".", 1)[0])
        if split is None or split in by_split:
            raise DatasetError(
                f"{tree.label} holds several tables: {', '.join(tables)}; needed is one, or "
                "train.csv and test.csv"
            )
        by_split[split] = name
    layout: TableLayout | None = None
    splits: dict[str, RawSplit] = {}
    # The training table says what the others have to be.
    for split, name in sorted(by_split.items(), key=lambda item: item[0] != "train"):
        splits[split] = _read_table(tree, name, options, layout)
        layout = splits[split].reading.table
    return splits


def _is_table(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES)


def _read_table(
    tree: FileTree, name: str, options: ReadOptions, layout: TableLayout | None = None
) -> RawSplit:
    where = f"{tree.label}/{name}"
    if options.decimal not in (None, ".", ","):
        raise DatasetError(f"--decimal must be . or , and not {options.decimal!r}")
    if options.like is not None:
        layout = options.like.reading.table
    encoding = (
        options.encoding or (layout.encoding if layout else None) or guess_encoding(tree, name)
    )
    if encoding == "cp1252" != options.encoding:
        options.tell(f"{where} is not UTF-8; read as cp1252: name another with --encoding")
    delimiter = options.delimiter or (layout.delimiter if layout else None)
    if delimiter is None:
        with open_text(tree, name, encoding) as text:
            delimiter = guess_delimiter(text)
    with open_text(tree, name, encoding) as text:
        blanks = Blanks()
        numbered = rows(text, delimiter_named(delimiter), blanks)
        head = list(islice(numbered, BLOCK_ROWS))
        if not head:
            raise DatasetError(f"{where} is empty")
        head = _without_preamble(head, where, options.tell)
        told = f"{delimiter_name(delimiter)} between columns, {encoding}"
        if layout is None and options.like is not None:
            layout = plain_layout(head[0][1], options.like, where)
            if layout.label is not None:
                options.tell(f"{where}: column {layout.label!r} is taken as the label")
        if layout is None:
            split = _read_new(head, numbered, where, told, options)
        else:
            split = read_alike(head, numbered, where, layout, options)
    if blanks.count:
        options.tell(blanks.told(where))
    return split


def _without_preamble(head: list[Row], where: str, tell: Tell) -> list[Row]:
    """The rows from the table's first on: Excel's `sep=;` and comments may stand above.

    Raises:
        DatasetError: something else does.
    """
    [(width, _)] = Counter(len(cells) for _, cells in head).most_common(1)
    above = 0
    while above < len(head) - 1 and _is_preamble(head[above][1], width):
        above += 1
    if above:
        tell(
            f"{above} {'line' if above == 1 else 'lines'} above the table left out, as "
            f"{' '.join(filter(None, head[0][1]))!r}"
        )
    number, cells = head[above]
    if len(cells) == 1 < width:
        raise DatasetError(
            f"{where}, line {number}: 1 column ({cells[0][:40]!r}), where most lines have {width}; "
            "remove what stands above the table"
        )
    return head[above:]


def _is_preamble(cells: list[str], width: int) -> bool:
    return cells[0].lower().startswith("sep=") or (cells[0].startswith("#") and len(cells) != width)


def _read_new(
    head: list[Row], more: Iterator[Row], where: str, told: str, options: ReadOptions
) -> RawSplit:
    """A table of which nothing is known but what the user says."""
    tell = options.tell
    width = len(head[0][1])
    if width < 2:
        raise DatasetError(
            f"{where} is not a table of features and a label: it has {width} columns; if they "
            "stand otherwise apart, name what is between them with --delimiter (space for white "
            "space)"
        )
    # Rows of another width are told where all rows are looked at.
    most = max(_FEWEST_SAMPLED_ROWS, _SAMPLED_CELLS // width)
    sample = [cells for _, cells in head[:most] if len(cells) == width]
    header = guess_header(sample, where) if options.header is None else options.header
    names = names_in(sample[0], where) if header else tuple(map(str, range(1, width + 1)))
    if header:
        head, sample = head[1:], sample[1:]
    if options.label is not None:
        label, why = column_named(names, options.label, "--label", where), "as asked"
    else:
        label, why = guess_label(names, sample, where)
    decimal = options.decimal or guess_decimal(chain.from_iterable(sample), where)
    tell(
        f"{where}: {told}, decimal {'point' if decimal == '.' else 'comma'}, "
        f"{'a header' if header else 'no header'}"
    )
    marks = Marks(decimal, options.missing_marks)
    owners = {column_named(names, name, "--by", where) for name in options.by}
    if label in owners:
        raise DatasetError(f"{where}: --by {names[label]} is the label; name another by --label")
    grid = read_grid(head, more, width, label, decimal, where, owners)
    dropped = {column_named(names, name, "--drop", where) for name in options.drop}
    kept = {column_named(names, name, "--keep", where) for name in options.keep}
    if label in dropped:
        raise DatasetError(f"{where}: --drop {names[label]} is the label; name another by --label")
    columns, values, odd = [], [], []
    for place, name in enumerate(names):
        if place == label or place in dropped or place in owners:
            continue
        cells = grid.columns[place]
        try:
            column = column_of(name, cells, marks, grid.where)
        except UnusableColumn as error:
            odd.append(error)
            continue
        if column is None:
            tell(f"column {name!r} is empty: left out")
            continue
        found = features_of(column, cells, marks, grid.where)
        if place not in kept and _counts_rows(found, place, name, header, where, tell):
            continue
        if cells.inexact is not None and not options.rounded:
            raise inexact_numbers(cells.inexact, name, where, options)
        for remark in remarks(column, cells, found):
            tell(remark)
        columns.append(column)
        values.append(found)
    if odd:
        raise unusable(odd, where)
    if not columns:
        raise DatasetError(f"{where} has no features: no column but {names[label]!r} is left")
    layout = TableLayout(
        names=names,
        columns=tuple(columns),
        label=names[label],
        header=header,
        decimal=decimal,
        missing_marks=options.missing_marks,
        delimiter=options.delimiter,
        encoding=options.encoding,
    )
    _tell_columns(layout, dropped, why, tell)
    for place in sorted(owners):
        count = len(set(grid.owners[place]))
        tell(f"column {names[place]!r} tells whose a row is, of {count} clients, and is no feature")
    _tell_rows(sample, names, tell)
    return samples_of(grid, layout, values, options)


def _counts_rows(
    values: Floats, place: int, name: str, header: bool, where: str, tell: Tell
) -> bool:
    """Whether a column is the rows' numbers, which are no feature; told either way.

    Raises:
        DatasetError: it has no name to tell that by.
    """
    lower = name.lower()
    unnamed, is_id = lower.startswith("unnamed"), lower.endswith(_ID_ENDINGS)
    if values.shape[1] > 1 or len(values) < _FEWEST_COUNTED:
        return False
    counted = np.arange(len(values))
    if not any(np.array_equal(values[:, 0], counted + start) for start in (0, 1)):
        if is_id and len(np.unique(values)) == len(values):
            tell(f"column {name!r} is another number in each row: --drop {name} leaves it out")
        return False
    if place and not (unnamed or is_id):
        return False
    if not header:
        raise DatasetError(
            f"{where}: column {name} counts the rows; leave it out with --drop {name}, or say that "
            f"it is a feature with --keep {name}"
        )
    if unnamed or is_id or lower in _INDEX_NAMES:
        tell(f"column {name!r} counts the rows: left out as an index (--keep {name!r} takes it)")
        return True
    tell(f"column {name!r} counts the rows and is taken as a feature: --drop {name} leaves it out")
    return False


def _tell_columns(layout: TableLayout, dropped: set[int], why: str, tell: Tell) -> None:
    numbers = [column.name for column in layout.columns if column.kind == "number"]
    others = [f"{c.name} ({c.kind})" for c in layout.columns if c.kind != "number"]
    tell(f"label: {layout.label!r}, {why}")
    features = sum(column.width for column in layout.columns)
    listed = [f"{len(numbers)} numbers: {some(numbers)}"] if numbers else []
    listed += [some(others)] if others else []
    tell(f"{features} features from {len(layout.columns)} columns: {'; '.join(listed)}")
    if dropped:
        tell(f"left out as asked: {some([layout.names[place] for place in sorted(dropped)])}")


def _tell_rows(sample: Sequence[Sequence[str]], names: Sequence[str], tell: Tell) -> None:
    more = " | …" if len(names) > SHOWN_COLUMNS else ""
    tell("first rows: " + " | ".join(names[:SHOWN_COLUMNS]) + more)
    for row in sample[:_SHOWN_ROWS]:
        tell("            " + " | ".join(cell[:20] for cell in row[:SHOWN_COLUMNS]) + more)
