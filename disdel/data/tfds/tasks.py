"""What the host asks of `tfds_process`: plain values, so that they can travel as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """Read the splits of the prepared data set in `version_dir` into `splits_dir`."""

    version_dir: str
    splits_dir: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Prepare a data set in `data_dir` from the splits in `splits_dir`.

    With `catalog` the data set is the catalog's of that name and configuration, else a new one of
    `version`. `class_names` may be empty.
    """

    splits_dir: str
    data_dir: str
    name: str
    config: str | None
    version: str
    catalog: bool
    class_names: list[str]
    classes: int
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """Let TFDS download and prepare a data set in `data_dir`."""

    data_dir: str
    manual_dir: str
    name: str
    config: str | None
    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Call the user's function `code` (a `CodeRef`), whose files lie in `folder`.

    `sources` are the texts of its Python files.
    """

    code: dict[str, Any]
    sources: list[str]
    folder: str
    splits_dir: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """Let the user's function `code` (a `CodeRef`), whose files lie in `folder`, deal samples.

    It is called as `said`, and finds `labels.npy` in `exchange_dir`, where what it deals goes.
    """

    code: dict[str, Any]
    folder: str
    said: str
    clients: int
    seed: int
    exchange_dir: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Ask what `counts` says beside the user's `code` (a `CodeRef`), whose files lie in `folder`.

    The answer goes to `counts.npy` in `exchange_dir`.
    """

    code: dict[str, Any]
    folder: str
    exchange_dir: str


Task = Decode | Write | Download | Call | Deal | Count
