"""What any exception is in a sentence: the one place where those of others become messages."""

from __future__ import annotations

import contextlib
import errno
import json
import lzma
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from disdel.errors import DisdelError, UsageError
from disdel.host import environment

# Asked only when they are looked at: it may take a look at the home folder.
Places = Sequence[Callable[[], Path]]

_NO_ROOM = (
    "make room, or name another place: --run-dir, --data-dir, DISDEL_STATE_DIR, TMPDIR for "
    "temporary files"
)
_ELSEWHERE = (
    "name another place, with --run-dir, --data-dir, DISDEL_STATE_DIR or TMPDIR, or have its "
    "owner allow it"
)
# What is wrong with the machine, and not with what the user has named.
_MACHINE = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: "the file system or `ulimit -f` allows no larger files: name another place",
    errno.EIO: "the disk or the network that it is on fails: see the system's log",
    errno.EMFILE: "raise the limit with `ulimit -n`",
    errno.ENFILE: "the machine has too many open files: end other programs",
    errno.ENOMEM: "the machine has no memory left: end other programs",
    errno.EAGAIN: "raise the limit on processes with `ulimit -u`, or end other programs",
    errno.EADDRINUSE: "choose another port, or 0 for any that is free",
    errno.ESTALE: "the network file system that it is on has lost it: try again",
}
_NAMED = {
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.EROFS: _ELSEWHERE,
    errno.ENOENT: "check how it is spelt",
    errno.ENOTDIR: "a part of the path is a file: check how it is spelt, or what --run-dir, "
    "--data-dir or DISDEL_STATE_DIR name",
    errno.EISDIR: "name a file",
    errno.EEXIST: "name another",
    errno.ENAMETOOLONG: "take a shorter name",
    errno.ELOOP: "its links lead in a circle",
    errno.ENXIO: "name an ordinary file",
}
# Damaged, or of another kind than it seems.
_DATA = (
    UnicodeError,
    json.JSONDecodeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RecursionError,
)
# Less than this is none, where something was too large for it.
_ROOM_BYTES = 1 << 20
_NETWORK = frozenset({"httpx", "httpcore", "redis", "ssl", "socket"})


def told(error: BaseException, places: Places = ()) -> tuple[str, int] | None:
    """An exception as a sentence and an exit code; None where it is a fault of the program.

    Args:
        error: the exception.
        places: folders that the user has named, one of which may be full.
    """
    if isinstance(error, DisdelError):
        return str(error), error.exit_code
    if isinstance(error, BaseExceptionGroup):
        return told(error.exceptions[0], places)
    if isinstance(error, OSError) and type(error).__module__ not in _NETWORK:
        return _told_of_file(error, places)
    if isinstance(error, MemoryError):
        why = f" ({error})" if str(error) else ""
        return (
            f"this host has no memory left for that{why}: end other programs, or take less of the "
            "data"
        ), 1
    if isinstance(error, ImportError):
        return (
            f"a package is missing, or is not of the version that is needed ({error}): install "
            "again, with pip install 'disdel[tensorflow,datasets,plot]'"
        ), UsageError.exit_code
    if isinstance(error, RecursionError):
        return "something that was read is nested too deeply", UsageError.exit_code
    if isinstance(error, _DATA):
        return (
            f"a file that was read is damaged, or of another kind ({type(error).__name__}: "
            f"{error}); DISDEL_DEBUG=1 shows where it was read"
        ), UsageError.exit_code
    if type(error).__module__.partition(".")[0] in _NETWORK:
        return f"a connection failed ({type(error).__name__}: {error}): try again", 1
    return None


def _full_places(places: Places) -> Iterator[str]:
    """Where commands write, as far as there is no room left."""
    own: Places = (Path.cwd, environment.state_dir, lambda: Path(tempfile.gettempdir()))
    for place in (*own, *places):
        with contextlib.suppress(OSError, DisdelError):
            path = place()
            path = next(parent for parent in (path, *path.parents) if parent.exists())
            room = os.statvfs(path)
            if room.f_bavail * room.f_frsize < _ROOM_BYTES or room.f_favail == 0 < room.f_files:
                yield str(path)


def _told_of_file(error: OSError, places: Places) -> tuple[str, int]:
    names = (error.filename, error.filename2)
    where = " to ".join(os.fsdecode(name) for name in names if isinstance(name, str | bytes))
    what = (error.strerror or str(error) or type(error).__name__).strip()
    number = error.errno or 0
    if number == errno.ENOSPC and not where:
        # What is written to an open file is not told by name.
        where = ", ".join(_full_places(places))
    step = _MACHINE.get(number) or (_NAMED.get(number) if where else None)
    message = f"{where}: {what}" if where else what
    # Without a path, nothing that the user has named is known to be at fault.
    code = UsageError.exit_code if number in _NAMED and where else 1
    return message + (f"; {step}" if step else ""), code
