"""What a user says about files that are read, and where what was guessed is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from disdel.types import DatasetSpec

Tell = Callable[[str], None]
MissingPolicy = Literal["refuse", "drop", "mean"]
TargetKind = Literal["classes", "numbers"]
SampleKind = Literal["images", "numbers"]


def tell_nobody(line: str) -> None:
    """Drop what was guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How files are read; None guesses, and tells.

    Attributes:
        targets: what labels are.
        samples: what arrays of integers are.
        rounded: take numbers that float32 does not hold exactly.
        label: the label column of a table: its name, or its position from 1 without a header.
        drop: columns of a table that are left out.
        keep: columns of a table that are features though they look like row numbers.
        delimiter: between the columns of a table: a character, "tab", or "space" for any white
            space.
        decimal: the decimal mark of a table's numbers, "." or ",".
        header: whether the first line of a table names its columns.
        missing: what becomes of rows with missing values.
        missing_marks: texts that mark a missing value beside blanks, instead of the usual ones.
        encoding: of a table's text.
        like: read samples for a model of this data set, as its own were; labels may be missing.
        tell: is given a line for each thing that was guessed or left out.
    """

    targets: TargetKind | None = None
    samples: SampleKind | None = None
    rounded: bool = False
    label: str | None = None
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    delimiter: str | None = None
    decimal: str | None = None
    header: bool | None = None
    missing: MissingPolicy = "refuse"
    missing_marks: tuple[str, ...] | None = None
    encoding: str | None = None
    like: DatasetSpec | None = None
    tell: Tell = tell_nobody
