"""The user's home folder, and what takes its place where there is none that can be used.

Services and containers run as users without one: no HOME, no entry for the user's number, or a home
that is not theirs to write.
"""

from __future__ import annotations

import os
import stat
import tempfile
from functools import cache
from pathlib import Path

from disdel.errors import UsageError
from disdel.host.streams import say


def expanded(path: str | Path, variable: str) -> Path:
    """`path` with its `~` replaced.

    Args:
        path: as the user has written it.
        variable: the setting that it is of, for a message.

    Raises:
        UsageError: it begins with `~` and there is no home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{variable} {str(path)!r}: there is no such home folder (HOME is not set, and user "
            f"{os.getuid()} has none): name a folder in full"
        ) from error


def in_home(path: str, variable: str) -> Path:
    """A folder in the user's home, `~/…`, or another where that cannot be used; it says which.

    Args:
        path: the folder, as `~/…`.
        variable: the setting that names another place.

    Raises:
        UsageError: there is no place at all.
    """
    try:
        folder = Path(path).expanduser()
    except RuntimeError:
        return _elsewhere(Path(path), "there is no home folder", variable)
    if os.access(folder, os.R_OK | os.X_OK) or _can_be_made(folder):
        return folder
    return _elsewhere(Path(path), f"{folder} cannot be made", variable)


def make_own(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone.

    What is in the state directory is trusted, so that a loose umask must not open it to others.

    Raises:
        OSError: it cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)


def _can_be_made(folder: Path) -> bool:
    """Whether something can be made in the nearest of its folders that is there.

    That is tried: of `/proc`, for example, the superuser is told that it can be written.
    """
    for parent in folder.parents:
        try:
            parent.stat()
        except FileNotFoundError:
            continue
        except OSError:
            return False
        try:
            Path(tempfile.mkdtemp(prefix=".disdel-", dir=parent)).rmdir()
        except OSError:
            return False
        return True
    return False


@cache
def _elsewhere(path: Path, why: str, variable: str) -> Path:
    own = Path(tempfile.gettempdir()) / f"disdel-{os.getuid()}"
    step = f"set {variable}, or HOME"
    try:
        own.mkdir(mode=0o700, exist_ok=True)
        found = own.lstat()
    except OSError as error:
        raise UsageError(f"{why}, nor {own} ({error.strerror}): {step}") from error
    # Others write to this folder too, and could have been here first.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UsageError(f"{why}, and {own} is not this user's alone: {step}")
    folder = own / path.name
    say(f"note    {why}: {folder} is used; {variable} names another")
    return folder
