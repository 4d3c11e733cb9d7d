"""How the samples of a data set came to be, so that new ones are read alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnKind = Literal["number", "boolean", "category"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A feature column of a table.

    `categories` are the texts of a category column, each of which is a feature of 0 or 1; any other
    column is one feature. `fill` takes the place of missing numbers; None where these are refused.
    """

    name: str
    kind: ColumnKind
    categories: tuple[str, ...] = ()
    fill: float | None = None

    @property
    def width(self) -> int:
        """How many features it is."""
        return len(self.categories) or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLayout:
    """What the columns of a table are.

    `names` are those of all columns, in the file's order (positions from 1 where it has no header);
    `columns` are those that are features. `missing_marks` are texts that mark a missing value
    beside blanks, None for the usual ones. `delimiter` and `encoding` are None where they were
    guessed.
    """

    names: tuple[str, ...]
    columns: tuple[Column, ...]
    label: str | None
    header: bool
    decimal: str
    missing_marks: tuple[str, ...] | None = None
    delimiter: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was done to the samples that were read, beside their conversion to a dtype.

    Attributes:
        channels_first: images came as (channels, height, width).
        black_and_white: images came as 0 and 1, which became 0 and 255.
        table: they came from a table of this layout.
    """

    channels_first: bool = False
    black_and_white: bool = False
    table: TableLayout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Means and standard deviations over the training split, for networks that standardise.

    Attributes:
        mean: of each entry of the samples' last axis, over all others; one for all where there are
            very many; none for images, whose range is known.
        deviation: as `mean`; 1 where values do not vary.
        target_mean: of numbers to predict: of each, where a sample has several in one axis, else
            one; 0 for classes.
        target_deviation: likewise; 1 for classes.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    target_mean: tuple[float, ...] = (0.0,)
    target_deviation: tuple[float, ...] = (1.0,)

    @property
    def loss_unit(self) -> float:
        """The mean squared error of predictions that are off by the targets' deviation."""
        return sum(deviation**2 for deviation in self.target_deviation) / len(self.target_deviation)
