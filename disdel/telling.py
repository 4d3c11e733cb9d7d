"""What any exception is in a sentence: the one place where those of others become messages."""

from __future__ import annotations

import errno
import json
import lzma
import os
import zipfile
import zlib

from disdel.errors import DisdelError, UsageError

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
    errno.ESTALE: "the network file system that it is on has lost it: try again",
}
_NAMED = {
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.EROFS: _ELSEWHERE,
    errno.ENOENT: "check how it is spelt",
    errno.ENOTDIR: "a part of the path is a file: check how it is spelt",
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
_NETWORK = frozenset({"httpx", "httpcore", "redis", "ssl", "socket"})


def told(error: BaseException) -> tuple[str, int] | None:
    """An exception as a sentence and an exit code; None where it is a fault of the program."""
    if isinstance(error, DisdelError):
        return str(error), error.exit_code
    if isinstance(error, BaseExceptionGroup):
        return told(error.exceptions[0])
    if isinstance(error, OSError) and type(error).__module__ not in _NETWORK:
        return _told_of_file(error)
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


def _told_of_file(error: OSError) -> tuple[str, int]:
    names = (error.filename, error.filename2)
    where = " to ".join(os.fsdecode(name) for name in names if isinstance(name, str | bytes))
    what = (error.strerror or str(error) or type(error).__name__).strip()
    number = error.errno or 0
    step = _MACHINE.get(number) or _NAMED.get(number)
    message = f"{where}: {what}" if where else what
    # Without a path, nothing that the user has named is known to be at fault.
    code = UsageError.exit_code if number in _NAMED and where else 1
    return message + (f"; {step}" if step else ""), code
