"""JSON and tables, for a file or a terminal."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from disdel.errors import DisdelError, UsageError
from disdel.host.streams import OutputLost, on_one_line
from disdel.host.targets import check_target
from disdel.types.events import Event, Listener, RunEnded

_ENCODER = json.JSONEncoder(indent=1)


class OutputFailed(DisdelError):
    """A run is over, and what it came to could not be written where the user wanted it."""

    kind = "output"


def write_json(target: str | None, value: Any, *, secret: bool = False) -> None:
    """Write `value` to a file, or to stdout when `target` is "-"; None writes nothing.

    An object may have iterators, whose items are made one after the other while they are written.

    The file is there as a whole or not at all. One that holds a secret is its owner's alone, also
    where it replaces one that everybody could read.

    Raises:
        UsageError: the file cannot be written.
    """
    if target is None:
        return
    if target == "-":
        for piece in _pieces(value):
            sys.stdout.write(piece)
        return
    try:
        path = Path(target)
        if path.exists() and (not path.is_file() or path.absolute().parts[1] in ("dev", "proc")):
            # A device, a pipe or an open file, which must not be replaced.
            with path.open("w", encoding="utf-8") as file:
                file.writelines(_pieces(value))
        else:
            # A link stays one.
            _replace(path.resolve(), _pieces(value), secret=secret)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--json {target} cannot be written: {error}") from error


def _pieces(value: Any) -> Iterator[str]:
    """The text of a value, some of it at a time: what it is made of takes many times its memory."""
    parts = _object(value) if isinstance(value, dict) else _ENCODER.iterencode(value)
    while piece := "".join(itertools.islice(parts, 1_000)):
        yield piece
    yield "\n"


def _object(value: dict[str, Any]) -> Iterator[str]:
    """The text of an object, with what it has of iterators as lists."""
    before = "{"
    for key, item in value.items():
        yield f"{before}\n {_ENCODER.encode(key)}: "
        before = ","
        if isinstance(item, Iterator):
            yield from _list(item)
        else:
            # Texts have no line breaks in JSON.
            yield from (part.replace("\n", "\n ") for part in _ENCODER.iterencode(item))
    yield "{}" if before == "{" else "\n}"


def _list(items: Iterator[Any]) -> Iterator[str]:
    before = "["
    for item in items:
        text = _ENCODER.encode(item).replace("\n", "\n  ")
        yield f"{before}\n  {text}"
        before = ","
    yield "[]" if before == "[" else "\n ]"


def _replace(path: Path, pieces: Iterable[str], *, secret: bool) -> None:
    mode = 0o600 if secret else _ordinary_mode(path)
    # Made for its owner alone, before anything is in it.
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(pieces)
            os.fchmod(file.fileno(), mode)
        Path(partial).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise


def _ordinary_mode(path: Path) -> int:
    """That of the file that is there, else what the umask leaves."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask


def check_json_target(target: str | None) -> None:
    """Refuse, before any work, a file that cannot be written.

    Raises:
        UsageError: it cannot be.
    """
    if target not in (None, "-"):
        check_target("--json", Path(str(target)))


class JsonWriter:
    """A listener that writes the report when the run ends, well or not.

    A failure to is told once the run is over: it changes nothing of how that has ended.
    """

    def __init__(self, target: str | None) -> None:
        self._target = target
        self._failure: DisdelError | None = None

    def __call__(self, event: Event) -> None:
        if self._target is not None and isinstance(event, RunEnded):
            from disdel.types.report_json import report_to_json

            try:
                write_json(self._target, report_to_json(event.report))
                sys.stdout.flush()
            except (UsageError, OutputLost) as error:
                self._failure = OutputFailed(f"{error}. The same is in {event.folder}/report.json")

    def finish(self) -> None:
        """Tell of a failure.

        Raises:
            OutputFailed: the report could not be written.
        """
        if self._failure is not None:
            raise self._failure


def both(first: Listener, second: Listener) -> Listener:
    """A listener that tells two."""

    def listen(event: Event) -> None:
        first(event)
        second(event)

    return listen


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as they need to be, whatever the terminal."""
    cells = [[on_one_line(str(cell)) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
