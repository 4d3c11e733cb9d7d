"""Removing folders that hold whatever an action has put there."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

_DEADLINE_S = 60.0


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is below it, as deep as it may be, and whatever its modes.

    What the kernel still refuses stays, and nothing is raised.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        # Up to Python 3.12 it goes down one call a level.
        _remove_by_command(folder)
    if folder.is_dir():
        _open_up(folder)
        _remove_by_command(folder)


def _remove_by_command(folder: Path) -> None:
    _run("rm", "-rf", "--", str(folder))


def _open_up(folder: Path) -> None:
    """Let the owner into every folder that an action has closed."""
    closed = ("-type", "d", "!", "-perm", "-u+rwx")
    _run("find", str(folder), *closed, "-exec", "chmod", "u+rwx", "{}", ";")


def _run(*command: str) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, check=False, timeout=_DEADLINE_S)
