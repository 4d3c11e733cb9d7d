"""JSON and tables, for a file or a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from disdel.errors import UsageError
from disdel.events import Event, Listener, RunEnded


def write_json(target: str | None, value: Any) -> None:
    """Write `value` to a file, or to stdout when `target` is "-"; None writes nothing.

    Raises:
        UsageError: the file cannot be written.
    """
    if target is None:
        return
    text = json.dumps(value, indent=1)
    if target == "-":
        sys.stdout.write(text + "\n")
        return
    try:
        Path(target).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--json {target} cannot be written: {error}") from error


def check_json_target(target: str | None) -> None:
    """Refuse, before any work, a file that cannot be written.

    Raises:
        UsageError: its folder does not exist.
    """
    if target not in (None, "-") and not Path(str(target)).absolute().parent.is_dir():
        raise UsageError(f"--json {target}: there is no such folder")


def json_writer(target: str | None) -> Listener:
    """A listener that writes the report when the run ends, well or not."""

    def listen(event: Event) -> None:
        if target is not None and isinstance(event, RunEnded):
            from disdel.controller.report_json import report_to_json

            write_json(target, report_to_json(event.report))

    return listen


def both(first: Listener, second: Listener) -> Listener:
    """A listener that tells two."""

    def listen(event: Event) -> None:
        first(event)
        second(event)

    return listen


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as they need to be, whatever the terminal."""
    cells = [[str(heading) for heading in headings], *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
