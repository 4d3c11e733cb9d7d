"""Names of data sets, as TFDS writes them: `name[/config][:version]`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from disdel.errors import DatasetError

_REFERENCE = re.compile(
    r"(?P<name>\w+)(?:/(?P<config>[\w.+-]+))?(?::(?P<version>\d+\.\d+\.\d+))?", re.ASCII
)
_NEW_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class DatasetRef:
    """A data set as asked for; None leaves the choice to what is prepared."""

    name: str
    config: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return f"{self.name}{config}" + (f":{self.version}" if self.version else "")


def parse_name(text: str) -> DatasetRef:
    """Read `name[/config][:version]`.

    Raises:
        DatasetError: `text` is not of that form.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None or match["config"] in (".", ".."):
        raise DatasetError(
            f"{text!r} is not the name of a data set: NAME, NAME/CONFIG or NAME:1.0.0, where NAME "
            "has letters, digits and underscores"
        )
    return DatasetRef(match["name"], match["config"], match["version"])


def check_new_name(name: str) -> None:
    """Refuse a name that TFDS could not give to a new data set.

    Raises:
        DatasetError: other than lower-case letters, digits and underscores, a letter first.
    """
    if not _NEW_NAME.fullmatch(name):
        raise DatasetError(
            f"{name!r} cannot name a data set: lower-case letters, digits and underscores, "
            "a letter first"
        )


def unknown_name(ref: DatasetRef, known: Iterable[str]) -> DatasetError:
    """The error for a name that nothing has, with the nearest names."""
    if ref.name in (known := set(known)):
        return DatasetError(
            f"{str(ref)!r}: {ref.name} is known, and not with that version or configuration: name "
            f"{ref.name!r} alone"
        )
    near = difflib.get_close_matches(ref.name.lower(), sorted(known), n=3, cutoff=0.7)
    hint = f"; did you mean {', '.join(repr(name) for name in near)}?" if near else "."
    return DatasetError(
        f"unknown data set {ref.name!r}{hint} `disdel dataset list` shows those at hand, and "
        f"`disdel dataset import {ref.name} PATH` makes one from files."
    )
