"""Temporary folders that the next command removes where their owner was killed.

Each holds a file that its owner keeps locked while he lives; the kernel lets go of it however he
ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_OWNER = ".owner"
# Before it is locked there is no such file; a folder without one may be in the making.
_IN_THE_MAKING_S = 3600.0


class Scratch:
    """A new folder of this process, until `close`.

    Args:
        prefix: what its name begins with.
        parent: where it is; None for that of temporary files.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, prefix: str, parent: Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            new = self.path / f"{_OWNER}.new"
            self._lock = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
            with contextlib.suppress(OSError):  # Without locks nobody takes it for abandoned.
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.rename(self.path / _OWNER)
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def close(self) -> None:
        """Remove the folder with all that is in it; may be called again."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def sweep(
    prefix: str, parent: Path | None = None, end: Callable[[Path], object] | None = None
) -> None:
    """Remove this user's folders whose owners are dead.

    Args:
        prefix: of their names.
        parent: where they are; None for the folder of temporary files.
        end: called with each before it is removed.
    """
    with contextlib.suppress(OSError):
        for path in (parent or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                _sweep(path, end)


def _sweep(path: Path, end: Callable[[Path], object] | None) -> None:
    found = path.lstat()
    if found.st_uid != os.getuid() or path.is_symlink():
        return
    try:
        lock = os.open(path / _OWNER, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        if time.time() - found.st_mtime > _IN_THE_MAKING_S:
            shutil.rmtree(path, ignore_errors=True)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Fails where the owner lives.
        if end is not None:
            end(path)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
