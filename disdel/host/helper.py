"""Processes that do a part of a command's work: bounded, and gone when the command is.

Each runs below a guard (`helper_guard`), which ends it and everything that it has started: whatever
the user's code in it does, and however this process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, ParamSpec, TypeVar

from disdel.host import environment
from openwhisk_local.machine.scratch import Scratch, sweep

P = ParamSpec("P")
T = TypeVar("T")

# Of what a helper writes, its end is kept.
_KEPT_BYTES = 1 << 16
_TEMPORARY = "disdel-helper-"
_GUARD = Path(__file__).with_name("helper_guard.py")

_running: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A helper that has ended.

    Attributes:
        status: its exit status; the number of a signal, negative; None where it was stopped.
        stopped: the bound that it reached.
        stdout: the end of what it wrote.
        stderr: likewise.
        memory_mb: the bound on its memory.
        timeout_s: the bound on its time; None where there was none.
    """

    status: int | None
    stopped: Literal["memory", "time", "abandoned"] | None
    stdout: str
    stderr: str
    memory_mb: int | None
    timeout_s: float | None

    def why(self, what: str) -> str:
        """Why it has no result, for people; `what` is what it was doing, as a subject."""
        if self.stopped == "memory":
            return (
                f"{what} took more than {self.memory_mb} MB of memory and was stopped; give it "
                "less to do, or raise the bound with DISDEL_HELPER_MEMORY_MB"
            )
        if self.stopped == "time":
            return (
                f"{what} has not ended in {self.timeout_s:.0f} s and was stopped; raise the bound "
                "with DISDEL_HELPER_TIMEOUT_S if it only needs longer"
            )
        if self.stopped == "abandoned":
            return f"{what} was stopped with the command"
        if self.status is not None and self.status < 0:
            return f"{what} crashed: its process was ended by {_signal_name(-self.status)}"
        lines = self.stderr.strip().splitlines()
        said = f" ({lines[-1]})" if lines else ""
        return f"{what} ended its process with status {self.status}{said}"


def run_helper(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    said: str = "",
    cwd: Path | None = None,
    scratch: Path | None = None,
    bounded: bool = True,
) -> Ended:
    """Run a command below a guard and wait for its end.

    Its folder of temporary files is its own, and removed with it: frameworks leave files there.

    Args:
        command: as for `subprocess`.
        environ: its environment.
        said: what it reads from standard input.
        cwd: where it runs; None for here.
        scratch: a folder that is removed if this process is killed meanwhile.
        bounded: whether its time is bounded; its memory always is.
    """
    memory_mb = environment.helper_memory_mb()
    timeout_s = environment.helper_timeout_s() if bounded else None
    sweep(_TEMPORARY)
    with Scratch(_TEMPORARY) as temporary:
        folders = (temporary, *(() if scratch is None else (scratch,)))
        request = {
            "command": list(command),
            "cwd": None if cwd is None else str(cwd),
            "input": said,
            "memory_bytes": None if memory_mb is None else memory_mb << 20,
            "timeout_s": timeout_s,
            "scratch": [str(folder.resolve()) for folder in folders],
        }
        told, (stdout, stderr) = _guarded(request, {**environ, "TMPDIR": str(temporary)})
    # Where the guard was killed, so was the helper.
    ended = json.loads(told) if told else {"status": -signal.SIGKILL, "stopped": None}
    return Ended(**ended, stdout=stdout, stderr=stderr, memory_mb=memory_mb, timeout_s=timeout_s)


def _guarded(request: Mapping[str, object], environ: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """Run what is asked for below a guard: the guard's line, and the ends of both outputs."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as report:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environ,
                pass_fds=(writing,),
                # A Ctrl-C is for this process, which then closes the pipe.
                start_new_session=True,
            )
        finally:
            os.close(writing)
        _running.add(process)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            outputs = [_Tail(process.stdout), _Tail(process.stderr)]
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            told = report.read()
        finally:
            _abandon(process)
            process.wait()
            _running.discard(process)
    return told, [output.text() for output in outputs]


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`; when cancelled, the helpers that run are ended, and so the thread."""
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except asyncio.CancelledError:
        for process in tuple(_running):
            _abandon(process)
        raise


def _abandon(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Tail:
    """Reads a stream to its end, and keeps the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._kept = b""
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            while part := os.read(self._stream.fileno(), _KEPT_BYTES):
                self._kept = (self._kept + part)[-_KEPT_BYTES:]

    def text(self) -> str:
        # All writers are dead; one that could not be killed is not waited for.
        self._thread.join(timeout=5)
        return self._kept.decode(errors="replace")
