"""The lock of the one platform that may run in the background of a state folder."""

from __future__ import annotations

import fcntl
from pathlib import Path

from disdel.errors import PlatformError

LOCK_NAME = "platform.lock"


def try_lock(descriptor: int, path: Path) -> bool:
    """Whether the lock of an open file was free, and is held from now on.

    Raises:
        PlatformError: its file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise PlatformError(
            f"{path} cannot be locked ({error}): name a folder of a file system with locks in "
            "DISDEL_STATE_DIR"
        ) from error
    return True


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock of the file at `path`."""
    try:
        with path.open("r+b") as file:
            return try_lock(file.fileno(), path)
    except FileNotFoundError:
        return True
