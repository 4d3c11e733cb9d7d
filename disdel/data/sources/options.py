"""What a user says about files that are read, and where what was guessed is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

from disdel.errors import UsageError
from disdel.types import DatasetSpec

Tell = Callable[[str], None]
MissingPolicy = Literal["refuse", "drop", "mean"]
TargetKind = Literal["classes", "numbers"]
SampleKind = Literal["images", "numbers"]
SourceKind = Literal["tables", "image folders", "arrays"]


def tell_nobody(line: str) -> None:
    """Drop what was guessed."""


# What is said of one kind of source only, by option.
_OF_TABLES = {
    "label": "--label",
    "drop": "--drop",
    "keep": "--keep",
    "delimiter": "--delimiter",
    "decimal": "--decimal",
    "header": "--header",
    "missing": "--missing",
    "missing_marks": "--na",
    "encoding": "--encoding",
}
_OF_ONE_KIND: dict[SourceKind, dict[str, str]] = {
    "tables": _OF_TABLES,
    "image folders": {"size": "--size"},
    "arrays": {"samples": "--samples"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How files are read; None guesses, and tells.

    Attributes:
        targets: what labels are.
        samples: what arrays of integers are.
        size: to which images of a folder are scaled: (height, width).
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
        from_code: they are what a function of the user's returned, who has no options to say.
        like: read samples for a model of this data set, as its own were; labels may be missing.
        tell: is given a line for each thing that was guessed or left out.
    """

    targets: TargetKind | None = None
    samples: SampleKind | None = None
    size: tuple[int, int] | None = None
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
    from_code: bool = False
    like: DatasetSpec | None = None
    tell: Tell = tell_nobody

    def check_kind(self, kind: SourceKind, where: str) -> None:
        """Refuse what is said of a source of another kind, where it would have no effect.

        Raises:
            UsageError: something is.
        """
        defaults = {field.name: field.default for field in fields(self)}
        for other, said in _OF_ONE_KIND.items():
            for name, option in said.items():
                if other != kind and getattr(self, name) != defaults[name]:
                    raise UsageError(
                        f"{option} is for {other}, and {where} has {kind}: leave it out"
                    )
