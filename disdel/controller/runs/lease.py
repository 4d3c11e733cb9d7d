"""The right to drive a run: one controller at a time has it, whoever starts at the same moment.

`controller.lock` in the run's folder is locked while a controller lives, and names it. The kernel
lets go of the lock however the process ends, so on one machine (all its containers and users) the
lock alone decides. Other machines that see the folder may not see the lock: for them the holder
touches the file, and one that has not for `STALE_S` seconds has lost its lease. Whoever takes a
lease over writes his own name into the file, which is what the earlier holder, should he come back,
finds by `confirm`, before he writes anything that could meet the other's work.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import dacite

from disdel.errors import DisdelError, UsageError
from openwhisk_local.machine.process_identity import ProcessIdentity, own_identity

LOCK_NAME = "controller.lock"
STALE_S = 60.0
_TOUCH_S = 5.0
# Whoever only looks whether a run goes on holds its lock for a moment.
_PATIENCE_S = 1.0
_POLL_S = 0.02
# Where there are no locks: long enough that everybody who starts now has written his name.
_SETTLE_S = 0.5
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

# Got, held by another, or none at all in this file system.
_Lock = Literal["got", "taken", "none"]


class RunTaken(UsageError):
    """Another controller drives the run."""

    kind = "taken"


class LeaseLost(DisdelError):
    """Another controller has taken the run over."""

    kind = "taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who drives a run.

    Attributes:
        process: the controller.
        token: tells one turn from another, of whatever controller.
        interruptible: whether it takes SIGTERM as an interrupt; not so in a thread of a program.
    """

    process: ProcessIdentity
    token: str
    interruptible: bool


class Lease:
    """A lease that this process holds, until `release`."""

    def __init__(self, folder: Path, descriptor: int, holder: Holder) -> None:
        self.folder = folder
        self.holder = holder
        self._descriptor = descriptor
        self._ending = threading.Event()
        self._touching = threading.Thread(target=self._touch, name="lease", daemon=True)
        self._touching.start()

    def _touch(self) -> None:
        while not self._ending.wait(_TOUCH_S):
            with contextlib.suppress(OSError):
                os.utime(self._descriptor)

    @property
    def is_held(self) -> bool:
        """Whether nobody has taken it over; where its file was removed, nobody has."""
        return self._taken_by() is None

    def _taken_by(self) -> Holder | None:
        other = _read(self.folder / LOCK_NAME)
        return None if other == self.holder else other

    def confirm(self) -> None:
        """Make sure that the run is still this controller's.

        Raises:
            LeaseLost: it is not.
        """
        other = self._taken_by()
        if other is not None:
            raise LeaseLost(
                f"run {self.folder.name} is no longer this controller's: {other.process.place} "
                "drives it now"
            )

    def release(self) -> None:
        """Let others have the run."""
        self._ending.set()
        self._touching.join()
        path = self.folder / LOCK_NAME
        if _is_at(self._descriptor, path) and self.is_held:
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(self._descriptor)


def claim(folder: Path) -> Lease:
    """The lease of the run in `folder`.

    Raises:
        RunTaken: another controller has it.
        UsageError: the folder cannot be written.
    """
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            lease = _claim_now(folder)
        except OSError as error:
            raise UsageError(
                f"run {folder.name} cannot be driven: {folder / LOCK_NAME} cannot be written "
                f"({error.strerror or error})"
            ) from error
        if lease is not None:
            return lease
        if time.monotonic() > deadline_s:
            holder = holder_of(folder)
            whom = "somebody else" if holder is None else holder.process.place
            raise RunTaken(
                f"run {folder.name} is still running: {whom} drives it; "
                f"disdel stop {folder.name} ends it"
            )
        time.sleep(_POLL_S)


def _claim_now(folder: Path) -> Lease | None:
    """The lease, or None while another has it; raises `OSError` where nobody can."""
    path = folder / LOCK_NAME
    # Who may open it could keep it locked, so only its owner may.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        lock, before = _lock(descriptor), _read(path)
        if (
            lock == "taken"
            or not _is_at(descriptor, path)  # Its last holder has removed it.
            or (before is not None and _lives(before, path, lock))
        ):
            os.close(descriptor)
            return None
        holder = Holder(
            process=own_identity(),
            token=secrets.token_hex(4),
            interruptible=threading.current_thread() is threading.main_thread(),
        )
        _write(descriptor, holder)
        if lock == "none":
            time.sleep(_SETTLE_S)
            if _read(path) != holder:
                os.close(descriptor)
                return None
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        raise
    return Lease(folder, descriptor, holder)


@contextmanager
def claimed(folder: Path) -> Iterator[Lease]:
    """`claim`, released at the end."""
    lease = claim(folder)
    try:
        yield lease
    finally:
        lease.release()


def holder_of(folder: Path) -> Holder | None:
    """Who has driven the run in `folder` last, if its lease was not given back."""
    return _read(folder / LOCK_NAME)


def is_driven(folder: Path) -> bool:
    """Whether a controller has the lease of the run in `folder`."""
    path = folder / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        # Another user's, whom the lock tells nothing either.
        return _is_fresh(path)
    try:
        lock, holder = _lock(descriptor, fcntl.LOCK_SH), _read(path)
        if lock == "taken":
            return True
        return holder is not None and _is_at(descriptor, path) and _lives(holder, path, lock)
    except OSError:
        return _is_fresh(path)
    finally:
        os.close(descriptor)


def _lives(holder: Holder, path: Path, lock: _Lock) -> bool:
    """Whether the holder that is written at `path` still has the lease, which `lock` left open."""
    process = holder.process
    if process.before_this_boot or (process.on_this_kernel and lock == "got"):
        return False
    return process.alive if process.seen_from_here else _is_fresh(path)


def _lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> _Lock:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return "taken"
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return "none"
        raise
    return "got"


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether a file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _is_fresh(path: Path) -> bool:
    """Whether the holder has touched the file lately, by this machine's clock."""
    try:
        return abs(time.time() - path.stat().st_mtime) < STALE_S
    except OSError:
        return False


def _read(path: Path) -> Holder | None:
    try:
        return dacite.from_dict(Holder, json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError, dacite.DaciteError):
        return None


def _write(descriptor: int, holder: Holder) -> None:
    text = json.dumps(asdict(holder)).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)
    os.fsync(descriptor)
