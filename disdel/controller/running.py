"""Runs whose controller lives, and those whose controller has died: finding and stopping them.

While a run goes on, its folder holds `controller.json`: the process, and the servers that outlive
it. Only its owner may read the file, since a Redis URL can carry a password.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import dacite
import psutil

from disdel.errors import DisdelError

CONTROLLER_NAME = "controller.json"
# Clocks are adjusted; a process id is not used again within so short a time.
_CREATED_TOLERANCE_S = 2.0
_STOP_DEADLINE_S = 120.0
_POLL_S = 0.05


class StillRunning(DisdelError):
    """A run that was told to stop has not ended yet."""

    kind = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerRecord:
    """The process that drives a run.

    Attributes:
        pid: its id.
        created: when it started, seconds since the epoch; with `pid` names it for good.
        interruptible: whether it takes SIGTERM as an interrupt; not so in a thread of a program.
        apihost: the OpenWhisk that outlives it, or None.
        insecure: whether that host's certificate is not checked.
        redis: the Redis that outlives it, or None.
    """

    pid: int
    created: float
    interruptible: bool
    apihost: str | None
    insecure: bool
    redis: str | None

    @property
    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < _CREATED_TOLERANCE_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def read_controller(folder: Path) -> ControllerRecord | None:
    """The controller of the run in `folder`, dead or alive; None when the run has ended."""
    try:
        fields = json.loads((folder / CONTROLLER_NAME).read_text(encoding="utf-8"))
        return dacite.from_dict(ControllerRecord, fields)
    except (OSError, ValueError, dacite.DaciteError):
        return None


def forget_controller(folder: Path) -> None:
    """The run has ended."""
    (folder / CONTROLLER_NAME).unlink(missing_ok=True)


@contextmanager
def announced(
    folder: Path, *, apihost: str | None, insecure: bool, redis: str | None
) -> Iterator[None]:
    """Inside, this process is known to drive the run in `folder`, and SIGTERM interrupts it."""
    record = ControllerRecord(
        pid=os.getpid(),
        created=psutil.Process().create_time(),
        interruptible=threading.current_thread() is threading.main_thread(),
        apihost=apihost,
        insecure=insecure,
        redis=redis,
    )
    partial = folder / f"{CONTROLLER_NAME}.tmp"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(record), file)
    partial.replace(folder / CONTROLLER_NAME)
    try:
        with _interrupted_by_sigterm() if record.interruptible else contextlib.nullcontext():
            yield
    finally:
        forget_controller(folder)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM cancels the task that is inside, as Ctrl-C does."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    before = signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


def interrupt(folder: Path, record: ControllerRecord) -> None:
    """Interrupt a live controller, and return when it has removed what its run had created.

    Raises:
        StillRunning: it cannot be interrupted from outside, or takes too long.
    """
    if not record.interruptible:
        raise StillRunning(
            f"run {folder.name} is part of the program with process id {record.pid}, which cannot "
            "be interrupted from outside: interrupt it there"
        )
    os.kill(record.pid, signal.SIGTERM)
    deadline_s = time.monotonic() + _STOP_DEADLINE_S
    while record.alive and read_controller(folder) == record:
        if time.monotonic() > deadline_s:
            raise StillRunning(
                f"run {folder.name} has been told to stop and is not done after "
                f"{_STOP_DEADLINE_S:g} s (process id {record.pid})"
            )
        time.sleep(_POLL_S)
