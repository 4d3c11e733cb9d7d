"""Removing folders that hold whatever an action has put there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


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
    subprocess.run(["rm", "-rf", "--", str(folder)], capture_output=True, check=False)


def _open_up(folder: Path) -> None:
    """Let the owner into every folder that an action has closed."""
    closed = ["-type", "d", "!", "-perm", "-u+rwx"]
    command = ["find", str(folder), *closed, "-exec", "chmod", "u+rwx", "{}", ";"]
    subprocess.run(command, capture_output=True, check=False)
