"""Tables whose columns are known: a test table, and tables to predict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from disdel.data.sources.cells import number_of
from disdel.data.sources.csv_columns import Marks, features_of
from disdel.data.sources.csv_guess import guess_label, names_in
from disdel.data.sources.csv_samples import read_grid, samples_of, some
from disdel.data.sources.csv_text import Row
from disdel.data.sources.samples import RawSplit
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions
from disdel.types import Column, DatasetSpec, TableLayout


def plain_layout(first: Sequence[str], like: DatasetSpec, where: str) -> TableLayout:
    """The layout of a table for a data set that came from no table: its features in order.

    Raises:
        DatasetError: the table has another number of columns, or the data set has images.
    """
    if len(like.input_shape) != 1:
        raise DatasetError(
            f"{where} is a table, and {like.name} has samples of shape {like.input_shape}"
        )
    header = any(number_of(cell, ".") is None and cell for cell in first)
    width = like.input_shape[0]
    names = tuple(first) if header else tuple(map(str, range(1, len(first) + 1)))
    label: int | None = None
    if len(names) == width + 1:
        label = guess_label(names, [], where)[0] if header else width
    elif len(names) != width:
        raise DatasetError(
            f"{where} has {len(names)} columns, and {like.name} has {width} features"
        )
    return TableLayout(
        names=names,
        columns=tuple(
            Column(name=name, kind="number") for place, name in enumerate(names) if place != label
        ),
        label=None if label is None else names[label],
        header=header,
        decimal=".",
    )


def read_alike(
    head: list[Row], more: Iterator[Row], where: str, layout: TableLayout, options: ReadOptions
) -> RawSplit:
    """A table whose columns are known by name, or by position where there is no header.

    Raises:
        DatasetError: columns are missing, or a cell is none of its column.
    """
    if layout.header:
        (_, first), *head = head
        width = len(first)
        place_of = _by_name(names_in(first, where), layout, where, options)
    else:
        width = len(head[0][1])
        place_of = _by_position(width, layout, where)
    label = None if layout.label is None else place_of(layout.label)
    decimal = options.decimal or layout.decimal
    if options.missing_marks is not None:
        layout = replace(layout, missing_marks=options.missing_marks)
    grid = read_grid(head, more, width, label, decimal, where)
    if label is None and options.like is None:
        raise DatasetError(f"{where} has no label column {layout.label!r}, as the training table")
    marks = Marks(decimal, layout.missing_marks, fixed=options.like is not None)
    values = []
    for column in layout.columns:
        place = place_of(column.name)
        assert place is not None
        values.append(features_of(column, grid.columns[place], marks, grid.where))
    return samples_of(grid, layout, values, options)


def _by_name(
    names: Sequence[str], layout: TableLayout, where: str, options: ReadOptions
) -> Callable[[str], int | None]:
    wanted = [column.name for column in layout.columns]
    if missing := [name for name in wanted if name not in names]:
        raise DatasetError(
            f"{where} lacks columns {some(list(map(repr, missing)))}; its first line is "
            f"{some(names)}"
        )
    if others := [n for n in names if n not in wanted and n != layout.label]:
        options.tell(f"columns that are no features left out: {some(list(map(repr, others)))}")
    return lambda name: names.index(name) if name in names else None


def _by_position(width: int, layout: TableLayout, where: str) -> Callable[[str], int | None]:
    """The places of columns without names: of all, of all but the label, or of the features."""
    features = [column.name for column in layout.columns]
    without_label = [name for name in layout.names if name != layout.label]
    for names in (list(layout.names), without_label, features):
        if width == len(names):
            return lambda name: names.index(name) if name in names else None
    raise DatasetError(
        f"{where} has {width} columns; needed are {len(layout.names)} as where the data set was "
        f"made, or {len(features)} without the label"
    )
