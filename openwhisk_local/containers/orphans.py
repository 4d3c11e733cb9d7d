"""Processes that leave their container, where neither a namespace nor a cgroup holds them in.

A process whose parent ends becomes a child of the nearest ancestor that asked for that: the action
proxy of its container, and where that has ended too, the platform.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

from openwhisk_local.machine.container_memory import process_tree

_PR_SET_CHILD_SUBREAPER = 36
# A fork bomb in between would go on for ever.
_MAX_ROUNDS = 100


def adopt_orphans(*, adopt: bool = True) -> None:
    """Become, or no longer be, the parent of descendants that lose theirs (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def strange_children() -> list[int]:
    """The children of this process in another session than its own; ended ones that nobody waits
    for are among them.
    """
    found = []
    for thread in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in (thread / "children").read_text().split()]
    return [pid for pid in found if session(pid) not in (None, os.getsid(0))]


def session(pid: int) -> int | None:
    """The session of a process, None once it is gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants, which first are stopped, so that none forks meanwhile."""
    stopped: set[int] = set()
    for _ in range(_MAX_ROUNDS):
        running = set(process_tree(pid)) - stopped
        if not running:
            break
        for member in running:
            _send(member, signal.SIGSTOP)
        stopped |= running
    for member in stopped:
        _send(member, signal.SIGKILL)


def bury(pid: int) -> None:
    """Let go of a child that has ended."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
