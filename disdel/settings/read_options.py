"""What a user says about files that are read, and where what was guessed is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from disdel.errors import UsageError
from disdel.settings.fields import declared
from disdel.types import DatasetSpec
from disdel.types.setting import Setting

Tell = Callable[[str], None]
MissingPolicy = Literal["refuse", "drop", "mean"]
TargetKind = Literal["classes", "numbers"]
SampleKind = Literal["images", "numbers"]
SourceKind = Literal["tables", "image folders", "arrays"]


def tell_nobody(line: str) -> None:
    """Drop what was guessed."""


_TABLES = "Tables"
_FOLDERS = "Image folders"
_ARRAYS = "Arrays"
# Options under these headings are said of one kind of source only.
_OF_ONE_KIND: dict[str, SourceKind] = {
    _TABLES: "tables",
    _FOLDERS: "image folders",
    _ARRAYS: "arrays",
}
_SIZE = re.compile(r"([1-9][0-9]{0,4})[x×X]([1-9][0-9]{0,4})", re.ASCII)


def _size_of(text: str) -> tuple[int, int]:
    """Height and width as a user writes them: 32x48.

    Raises:
        ValueError: it is no such text.
    """
    if (found := _SIZE.fullmatch(text.strip())) is None:
        raise ValueError(text)
    return int(found[1]), int(found[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """How the text of a table is read; None guesses, or takes what the data set was made with.

    Attributes:
        by: columns of a table that tell whose each row is, and are no features.
        delimiter: between the columns: a character, "tab", or "space" for any white space.
        decimal: the decimal mark of numbers, "." or ",".
        missing_marks: texts that mark a missing value beside blanks, instead of the usual ones.
        encoding: of the text.
    """

    by: Annotated[
        tuple[str, ...],
        Setting(
            "Column that tells whose a row is, for --partition by:COLUMN; it is no feature. May be "
            "repeated.",
            metavar="COLUMN",
            group=_TABLES,
        ),
    ] = ()
    delimiter: Annotated[
        str | None, Setting("Character between columns.", metavar="CHAR|tab|space", group=_TABLES)
    ] = None
    decimal: Annotated[str | None, Setting("Decimal mark.", metavar=".|,", group=_TABLES)] = None
    missing_marks: Annotated[
        tuple[str, ...] | None,
        Setting(
            "Mark of a missing value, instead of NA, NaN, null, ?; may be repeated.",
            name="na",
            metavar="TEXT",
            group=_TABLES,
        ),
    ] = None
    encoding: Annotated[
        str | None, Setting("Encoding of the text.", metavar="NAME", group=_TABLES)
    ] = None

    @property
    def said(self) -> str | None:
        """The flag of one that is not left to a guess; None where all are."""
        options = declared(TableOptions)
        return next((o.flag for o in options if o.value(self) != o.default), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions(TableOptions):
    """How files are read; None guesses, and tells.

    Attributes:
        targets: what labels are.
        samples: what arrays of integers are.
        size: to which images of a folder are scaled: (height, width).
        rounded: take numbers that float32 does not hold exactly.
        label: the label column of a table: its name, or its position from 1 without a header.
        drop: columns of a table that are left out.
        keep: columns of a table that are features though they look like row numbers.
        header: whether the first line of a table names its columns.
        missing: what becomes of rows with missing values.
        from_code: they are what a function of the user's returned, who has no options to say.
        like: read samples for a model of this data set, as its own were; labels may be missing.
        tell: is given a line for each thing that was guessed or left out.
    """

    targets: Annotated[
        TargetKind | None,
        Setting(
            "Treat labels as numbers to predict, or as classes.",
            name="regression",
            off="--classification",
            means=("numbers", "classes"),
        ),
    ] = None
    samples: Annotated[
        SampleKind | None,
        Setting("Treat arrays of whole numbers as images, or as numbers.", group=_ARRAYS),
    ] = None
    size: Annotated[
        tuple[int, int] | None,
        Setting(
            "Scale images to this size: bilinear, proportions are not kept.",
            metavar="HEIGHTxWIDTH",
            reads=_size_of,
            wanted="HEIGHTxWIDTH in pixels, as 32x48",
            group=_FOLDERS,
        ),
    ] = None
    rounded: Annotated[bool, Setting("Accept numbers that become equal in float32.")] = False
    label: Annotated[
        str | None,
        Setting("Label column; by position if it has no name.", metavar="COLUMN", group=_TABLES),
    ] = None
    drop: Annotated[
        tuple[str, ...],
        Setting("Leave this column out; may be repeated.", metavar="COLUMN", group=_TABLES),
    ] = ()
    keep: Annotated[
        tuple[str, ...],
        Setting(
            "Keep this column, though it only counts the rows.", metavar="COLUMN", group=_TABLES
        ),
    ] = ()
    header: Annotated[
        bool | None,
        Setting("Whether the first line names the columns.", off="--no-header", group=_TABLES),
    ] = None
    missing: Annotated[
        MissingPolicy,
        Setting(
            "Rows with missing values: refuse the table, drop them, or fill numbers with "
            "the mean of their column in the training split.",
            group=_TABLES,
        ),
    ] = "refuse"
    from_code: bool = False
    like: DatasetSpec | None = None
    tell: Tell = tell_nobody

    @classmethod
    def of_input(cls, table: TableOptions, like: DatasetSpec, tell: Tell) -> ReadOptions:
        """Of samples to predict by a model of a data set; tables are read as `table` says."""
        said = {field.name: getattr(table, field.name) for field in fields(TableOptions)}
        return cls(**said, like=like, tell=tell)

    def check_kind(self, kind: SourceKind, where: str) -> None:
        """Refuse what is said of a source of another kind, where it would have no effect.

        Raises:
            UsageError: something is.
        """
        for option in declared(ReadOptions):
            other = _OF_ONE_KIND.get(option.setting.group, kind)
            if other != kind and option.value(self) != option.default:
                raise UsageError(
                    f"{option.flag} is for {other}, and {where} has {kind}: leave it out"
                )
