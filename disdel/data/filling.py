"""Missing numbers of a table, filled with the means of the samples that are trained on.

The held-out samples have no part in the means: a score on them would otherwise be of samples that
the model has seen something of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from disdel.data.holdout import hold_out
from disdel.data.sources.csv_samples import some
from disdel.data.sources.samples import LabelledSplits, RawSplit
from disdel.errors import DatasetError
from disdel.settings.read_options import Tell
from disdel.types import Column


def filled(content: LabelledSplits, where: str, tell: Tell) -> LabelledSplits:
    """The content of a table with its training split's means in place of NaN, in all splits.

    Args:
        content: samples with NaN where a number is missing. Where it has no split for testing, the
            one that will be held out has no part in the means either.
        where: the source, for messages.
        tell: is told what was filled with what.

    Returns:
        Content whose columns know what fills them. What came from no table is returned as it is.

    Raises:
        DatasetError: numbers are missing in a column that no training sample has.
    """
    table = content.reading.table
    if table is None:
        return content
    train_x = content.splits["train"].x
    if "test" not in content.splits:
        train_x = train_x[hold_out(content.labels["train"])[0]]
    columns: list[Column] = []
    fills: list[float | None] = []
    for column in table.columns:
        if column.fill is None:
            values = train_x[:, len(fills)]
            if len(known := values[~np.isnan(values)]):
                column = replace(column, fill=float(known.mean(dtype=np.float64)))
        columns.append(column)
        fills += [column.fill] * column.width
    reading = replace(content.reading, table=replace(table, columns=tuple(columns)))
    means = np.array([np.nan if fill is None else fill for fill in fills], dtype=np.float32)
    counts = dict.fromkeys((column.name for column in columns), 0)
    splits: dict[str, RawSplit] = {}
    for name, split in content.splits.items():
        missing = np.isnan(split.x)
        for column, place in _first_features(columns):
            counts[column.name] += int(missing[:, place].sum())
        x = np.where(missing, means, split.x) if missing.any() else split.x
        splits[name] = replace(split, x=x, reading=reading)
    _check_all_known(columns, counts, where)
    if any(counts.values()):
        gaps = [(column, counts[column.name]) for column in columns if counts[column.name]]
        tell(
            f"{sum(counts.values())} missing numbers filled, in all splits, with the mean that "
            f"their column has in the {len(train_x)} training samples: "
            + some([f"{column.name!r} ×{count}: {column.fill:g}" for column, count in gaps])
        )
    return replace(content, splits=splits)


def _first_features(columns: list[Column]) -> list[tuple[Column, int]]:
    places, start = [], 0
    for column in columns:
        places.append((column, start))
        start += column.width
    return places


def _check_all_known(columns: list[Column], counts: Mapping[str, int], where: str) -> None:
    for column in columns:
        if column.fill is None and counts[column.name]:
            raise DatasetError(
                f"{where}: column {column.name!r} has no number in any training sample, so no mean "
                f"to fill with: leave it out with --drop {column.name!r}, or its samples with "
                "--missing drop"
            )
