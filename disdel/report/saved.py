"""A saved report as types again: what `report.json` holds, as far as a page shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dacite

from disdel.errors import UsageError
from disdel.types import Activation, ErrorReport, LedgerEntry, Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """A plan; `estimate_mb` is by part, with their sum as `total`."""

    workers: int
    memory_mb: int
    rounds: int
    timeout_s: float
    predicted_s: float
    gb_s: float
    estimate_mb: Mapping[str, float]
    reasons: tuple[str, ...]
    runtime: str | None = None
    threads: int | None = None
    collect_memory_mb: int | None = None
    estimator: str | None = None
    basis: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRound:
    """A round; losses and metrics are means over samples, the accuracy a fraction.

    They are None where the round was not scored; there is no accuracy where numbers are predicted.
    """

    round: int
    wall_s: float
    loss: float | None
    accuracy: float | None
    train_loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedReport:
    """A run, as saved. What a run did not come to is empty or None."""

    version: int
    run: str
    job: str
    dataset: str
    platform: str
    status: str
    wall_s: float
    error: ErrorReport | None = None
    accuracy: float | None = None
    loss: float | None = None
    model: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    plan: SavedPlan | None = None
    rounds: tuple[SavedRound, ...] = ()
    activations: tuple[Activation, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    totals: Totals | None = None


_NOTHING: dict[str, Any] = {"rounds": [], "activations": [], "settings": {}} | dict.fromkeys(
    ("error", "accuracy", "loss", "model", "plan", "totals")
)
_READING = dacite.Config(cast=[tuple], type_hooks={float: float})


def parse_report(fields: Mapping[str, object]) -> SavedReport:
    """The report in a JSON object; fields that are not known are left out.

    Raises:
        UsageError: it is no report, or not one of this version.
    """
    if fields.get("version") != 1:
        raise UsageError(f"a report of version 1 is needed, not {fields.get('version')!r}")
    try:
        return dacite.from_dict(SavedReport, fields, _READING)
    except (dacite.DaciteError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"this is no report of a run: {error}") from error


def checked(fields: dict[str, Any]) -> dict[str, Any]:
    """A report as it is, with `None` or nothing for what it does not have.

    Raises:
        UsageError: it is none.
    """
    parse_report(fields)
    return {**_NOTHING, **fields}


def read_report(path: Path) -> SavedReport:
    """The report in a file.

    Raises:
        UsageError: the file cannot be read or holds no report.
    """
    try:
        data = path.read_bytes()
        fields = json.loads(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is {_kind_of(data)}, and no report of a run: name a run, or its report.json"
        ) from error
    if not isinstance(fields, dict):
        raise UsageError(f"{path} holds no report of a run, but a {type(fields).__name__}")
    return parse_report(fields)


_BEGINNINGS = (
    (b"PK\x03\x04", "an archive, such as a model of Keras or PyTorch"),
    (b"\x89HDF", "an HDF5 file, such as a model"),
    (b"\x80", "a pickle, such as a model"),
    (b"\x89PNG", "a picture"),
    (b"<", "a page of HTML or XML"),
    (b"{", "damaged JSON"),
)


def _kind_of(data: bytes) -> str:
    """What a file that is no JSON seems to be."""
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning):
            return kind
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        return "a model (safetensors)"
    try:
        data.decode()
    except UnicodeDecodeError:
        return "a binary file"
    return "text that is no JSON" if data else "empty"
