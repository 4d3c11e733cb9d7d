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
from contextlib import ExitStack
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
    with Helper(command, environ=environ, cwd=cwd, scratch=scratch, bounded=bounded) as helper:
        return helper.ended(said)


class Helper:
    """A helper that begins before it is known what it reads; a context manager that ends it.

    The arguments are those of `run_helper`. Its time is bounded from when it is told.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        cwd: Path | None = None,
        scratch: Path | None = None,
        bounded: bool = True,
    ) -> None:
        self._memory_mb = environment.helper_memory_mb()
        self._timeout_s = environment.helper_timeout_s() if bounded else None
        sweep(_TEMPORARY)
        self._temporary = Scratch(_TEMPORARY)
        folders = (self._temporary.path, *(() if scratch is None else (scratch,)))
        with ExitStack() as stack:
            stack.callback(self._temporary.close)
            report, reports = map(stack.enter_context, _pipe())
            reads, self._input = map(stack.enter_context, _pipe())
            request = {
                "command": list(command),
                "cwd": None if cwd is None else str(cwd),
                "input": reads.fileno(),
                "memory_bytes": None if self._memory_mb is None else self._memory_mb << 20,
                "timeout_s": self._timeout_s,
                "scratch": [str(folder.resolve()) for folder in folders],
            }
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), str(reports.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**environ, "TMPDIR": str(self._temporary.path)},
                pass_fds=(reports.fileno(), reads.fileno()),
                # A Ctrl-C is for this process, which then closes the pipe.
                start_new_session=True,
            )
            _running.add(self._process)
            stack.callback(self._end)
            reads.close()
            reports.close()
            assert self._process.stdout is not None
            assert self._process.stderr is not None
            self._report = report
            self._outputs = [_Tail(self._process.stdout), _Tail(self._process.stderr)]
            self._tell_guard(json.dumps(request))
            self._stack = stack.pop_all()

    def ended(self, said: str = "") -> Ended:
        """What became of it; it is told `said` and waited for."""
        self._tell_guard("")
        # It may end, and so may its guard, before it has read that.
        with contextlib.suppress(BrokenPipeError), self._input:
            self._input.write(said.encode())
        told = self._report.read()
        self.close()
        # Where the guard was killed, so was the helper.
        ended = json.loads(told) if told else {"status": -signal.SIGKILL, "stopped": None}
        stdout, stderr = (output.text() for output in self._outputs)
        return Ended(
            **ended,
            stdout=stdout,
            stderr=stderr,
            memory_mb=self._memory_mb,
            timeout_s=self._timeout_s,
        )

    def _tell_guard(self, line: str) -> None:
        assert self._process.stdin is not None
        # Where the command is being ended, it is closed.
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """End it, whatever it does; may be called again."""
        self._stack.close()

    def _end(self) -> None:
        _abandon(self._process)
        self._process.wait()
        _running.discard(self._process)

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    """A pipe's ends, to read and to write."""
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb"), os.fdopen(writing, "wb")


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
