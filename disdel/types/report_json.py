"""The wire form of a report: what `--json` prints and `report.json` holds, from its type and back.

Version 2. Fields may be added; those that are here stay. A report of version 1 is read as well: it
is one of version 2 that lacks the later fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dacite

from disdel.errors import UsageError
from disdel.types.report import RunReport
from disdel.types.scores import Evaluation
from disdel.types.words import a_kind

REPORT_VERSION = 2
_READABLE = (1, 2)
# Of more, a report has no confusion matrix: the file beside it has.
MOST_CLASSES = 100
CONFUSION_NAME = "confusion.csv"
# A report of a thousand rounds of a hundred workers is a tenth of it.
_MOST_BYTES = 256 << 20
_READING = dacite.Config(cast=[tuple], type_hooks={float: float})


def report_to_json(report: RunReport) -> dict[str, Any]:
    """The report as a JSON object; a large confusion matrix is left to its file."""
    evaluation = report.evaluation
    if isinstance(evaluation, Evaluation) and len(evaluation.classes) > MOST_CLASSES:
        cut = replace(evaluation, confusion=None, confusion_file=CONFUSION_NAME)
        report = replace(report, evaluation=cut)
    return {"version": REPORT_VERSION, **asdict(report)}


def report_text(report: RunReport) -> bytes:
    """A report as it is written to a file."""
    return json.dumps(report_to_json(report), indent=1).encode()


def report_from_json(fields: object) -> RunReport:
    """The report that a JSON object is; fields that are not known are left out.

    Raises:
        UsageError: it is no report, or one of a version that is not read.
    """
    if not isinstance(fields, Mapping):
        raise UsageError(f"it is no report of a run, but {a_kind(fields)}")
    version = fields.get("version")
    if version is None:
        raise UsageError("it is no report of a run: it has no version")
    if type(version) is not int or version not in _READABLE:
        raise UsageError(
            f"it is a report of version {version!r}, and this disdel reads versions "
            f"{' and '.join(map(str, _READABLE))}: read it with the disdel that wrote it"
        )
    try:
        return dacite.from_dict(RunReport, fields, _READING)
    except (dacite.DaciteError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"it is no report of a run: {error}") from error


def read_report(path: Path, instead: str = "name another run, or another report.json") -> RunReport:
    """The report in a file.

    Args:
        path: the file.
        instead: what a user may do where it holds something else.

    Raises:
        UsageError: the file cannot be read, or holds no report.
    """
    try:
        with path.open("rb") as file:
            # What is cut off is no JSON.
            data = file.read(_MOST_BYTES)
        return report_from_json(json.loads(data))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is {_kind_of(data)}, and no report of a run: {instead}"
        ) from error
    except UsageError as error:
        raise UsageError(f"{path} cannot be read as a report: {error}") from error


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
