"""Holds the processes of one helper: `python -I -S helper_guard.py REPORT_FD < request`.

`helper.Helper` starts it. It runs the command of the request (one line of JSON), bounds its memory
and, from the next line on, its time, and ends it with everything that it has started: when the
command ends, when a bound is reached, and when standard input closes, which is when disdel ends,
however that happens.
On Linux nothing escapes: orphans come to this process, whatever their session. Elsewhere the
command's session is what is ended.

Standard library only, and little of it: every helper waits for this to start.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_LOOK_S = 0.2
# What cannot be killed in this time, such as a process that waits for a disk, is left.
_KILL_S = 5.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")
_ON_LINUX = sys.platform == "linux"
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")


def _prctl(option: int, value: int) -> None:
    if _ON_LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _children() -> dict[int, list[tuple[int, int]]]:
    """By parent: the process and its resident bytes, of all processes that can be seen."""
    found: dict[int, list[tuple[int, int]]] = {}
    if _ON_LINUX:
        for entry in _PROC.iterdir():
            if entry.name.isdecimal():
                # It may have ended meanwhile.
                with contextlib.suppress(OSError, ValueError):
                    # The name, in brackets, may hold anything.
                    fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                    row = (int(entry.name), int(fields[21]) * _PAGE_BYTES)
                    found.setdefault(int(fields[1]), []).append(row)
    else:
        told = subprocess.run(
            ["ps", "-axo", "ppid=,pid=,rss="], capture_output=True, text=True, check=False
        )
        for line in told.stdout.splitlines():
            parent, process, kib = map(int, line.split())
            found.setdefault(parent, []).append((process, kib << 10))
    return found


def _descendants() -> list[tuple[int, int]]:
    """Each process below this one, with its resident bytes."""
    children, below = _children(), []
    waiting = [os.getpid()]
    while waiting:
        rows = children.get(waiting.pop(), [])
        below += rows
        waiting += [process for process, _ in rows]
    return below


def _proportional_bytes(process: int) -> int | None:
    """What a process has of pages that it may share with others; None where nobody tells."""
    with contextlib.suppress(OSError, ValueError):
        for line in (_PROC / str(process) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return None


def _used_bytes() -> int:
    """Memory of all processes below, shared pages counted once."""
    return sum(_proportional_bytes(process) or resident for process, resident in _descendants())


class _Guard:
    def __init__(self, request: dict[str, Any], *, is_told: bool) -> None:
        self._memory_bytes: int | None = request["memory_bytes"]
        self._timeout_s: float = request["timeout_s"] or float("inf")
        self._deadline = time.monotonic() + self._timeout_s if is_told else float("inf")
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._woken = woken
        self._process = subprocess.Popen(
            request["command"],
            cwd=request["cwd"],
            stdin=request["input"],
            start_new_session=True,
            preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
        # Who writes learns so that nobody reads any more.
        os.close(request["input"])
        self.status: int | None = None

    def wait(self) -> str | None:
        """Until the command has ended, or why it was not waited for: time, memory, or abandoned."""
        while True:
            ready, _, _ = select.select([0, self._woken], [], [], _LOOK_S)
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 512)
            self._reap()
            if self.status is not None:
                return None
            if 0 in ready:
                if not os.read(0, 512):
                    return "abandoned"
                self._deadline = time.monotonic() + self._timeout_s
            if time.monotonic() > self._deadline:
                return "time"
            # Resident pages are quick to read and never fewer.
            if (
                self._memory_bytes is not None
                and sum(resident for _, resident in _descendants()) > self._memory_bytes
                and _used_bytes() > self._memory_bytes
            ):
                return "memory"

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._process.pid:
                    self.status = os.waitstatus_to_exitcode(ended[1])

    def end_all(self) -> None:
        deadline = time.monotonic() + _KILL_S
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        while time.monotonic() < deadline:
            self._reap()
            below = _descendants()
            # `ps` is a child itself.
            if not below or not _ON_LINUX:
                return
            for process, _ in below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.005)


def main(report: int) -> None:
    said = b""
    while b"\n" not in said:
        if not (part := os.read(0, 1 << 16)):
            return
        said += part
    line, _, more = said.partition(b"\n")
    request = json.loads(line)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    guard = _Guard(request, is_told=bool(more))
    stopped = guard.wait()
    guard.end_all()
    if stopped == "abandoned":
        for folder in request["scratch"]:
            shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(BrokenPipeError):
        os.write(report, json.dumps({"status": guard.status, "stopped": stopped}).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
