"""The output of a container, cut into the log of one activation after another."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from openwhisk_local.replies import LOGS_FAILED, logs_truncated

SILENCE_S = 2.0
# Something that goes on writing must not keep an activation from its end.
TAKE_DEADLINE_S = 5.0
MAX_LINE_BYTES = 1 << 20
STAMP_WIDTH = 30

# Upstream's limit counts the lines of its engine's log file, which are JSON:
# {"log":"TEXT\n","stream":"stdout","time":"2023-11-14T22:13:20.450123456Z"}
_LINE_BYTES = 71
_ESCAPED_IN_TWO = b'"\\\r\t'
_ESCAPED_IN_SIX = bytes({*range(0x20), 0x7F, *b"<>&"} - {*b"\n\r\t"})

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, ...] = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Log:
    """One activation's lines; `complete` is false when some were cut off or may be missing."""

    lines: tuple[str, ...]
    complete: bool


def log_line(stream: Stream, text: str) -> str:
    """A line as OpenWhisk stores it: time in 30 columns, stream, text."""
    return f"{_stamp()} {stream}: {text}"


def _stamp() -> str:
    now_ns = time.time_ns()
    second = datetime.fromtimestamp(now_ns // 10**9, UTC)
    stamp = f"{second:%Y-%m-%dT%H:%M:%S}.{now_ns % 10**9:09d}Z"
    return f"{stamp:<{STAMP_WIDTH}}"


def counted_bytes(line: bytes) -> int:
    """What a line counts against an action's log limit: more than its text, which may be empty."""
    twice = len(line) - len(line.translate(None, _ESCAPED_IN_TWO))
    six_times = len(line) - len(line.translate(None, _ESCAPED_IN_SIX))
    return _LINE_BYTES + len(line) + twice + 5 * six_times


@dataclass(frozen=True, slots=True)
class Marks:
    """The lines by which a container's proxy tells where an activation's output begins and ends.

    They hold a secret of the container, so that nothing that an action prints is taken for one.
    """

    secret: str

    @property
    def begin(self) -> bytes:
        return f"{self.secret} begins\n".encode()

    @property
    def end(self) -> bytes:
        return f"{self.secret} ends\n".encode()


@dataclass(slots=True)
class _StreamState:
    """`inside` is between the marks of an activation."""

    partial: bytes = b""
    inside: bool = False
    ended: int = 0
    closed: bool = False


@dataclass(slots=True)
class LogCollector:
    """Takes the bytes of both streams as they come and gives out the lines of an activation.

    What comes between two activations is nobody's: it was written by what an earlier one has left
    running, or before the container had an action.

    Args:
        limit_bytes: what is kept of one activation's lines, each counted by `counted_bytes`.
        marks: what begins and ends an activation on each stream.
    """

    limit_bytes: int
    marks: Marks
    _streams: dict[Stream, _StreamState] = field(
        default_factory=lambda: {"stdout": _StreamState(), "stderr": _StreamState()}
    )
    _lines: list[str] = field(default_factory=list)
    _size: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def _is_full(self) -> bool:
        return self._size > self.limit_bytes

    def feed(self, stream: Stream, chunk: bytes) -> None:
        """Take what a container has written: whole lines between the marks of a run are its log."""
        state = self._streams[stream]
        data = state.partial + chunk
        while True:
            mark = self.marks.end if state.inside else self.marks.begin
            before, found, after = data.partition(mark)
            if state.inside:
                # A run begins in what its container's initialization has begun.
                before = before.replace(self.marks.begin, b"")
            if not found:
                break
            if state.inside:
                self._add(stream, before)
                state.ended += 1
            state.inside = not state.inside
            data = after
        state.partial = self._add_whole_lines(stream, before) if state.inside else before
        if not state.inside or self._is_full():
            # Only what may be the start of a mark matters.
            state.partial = state.partial[-len(self.marks.begin) :]
        self._changed.set()

    def close(self, stream: Stream) -> None:
        state = self._streams[stream]
        if state.inside:
            self._add(stream, state.partial)
        state.partial, state.closed = b"", True
        self._changed.set()

    def _add_whole_lines(self, stream: Stream, data: bytes) -> bytes:
        """Add what has its newline, and return the rest."""
        whole, newline, rest = data.rpartition(b"\n")
        self._add(stream, whole + newline)
        if len(rest) > MAX_LINE_BYTES:
            # Its end may be the start of a mark.
            cut = len(rest) - len(self.marks.begin)
            self._add(stream, rest[:cut])
            return rest[cut:]
        return rest

    def _add(self, stream: Stream, text: bytes) -> None:
        """Add lines, of which the last may lack its newline."""
        if not text or self._is_full():
            return
        text, stamp = text.removesuffix(b"\n"), _stamp()
        # No more of them than the limit has room for, however short they are.
        for line in text.split(b"\n", (self.limit_bytes - self._size) // _LINE_BYTES + 1):
            self._add_line(stream, line, stamp)
            if self._is_full():
                return

    def _add_line(self, stream: Stream, line: bytes, stamp: str) -> None:
        self._size += counted_bytes(line)
        if not self._is_full():
            self._lines.append(f"{stamp} {stream}: {line.decode(errors='replace').rstrip(chr(13))}")

    async def take(self) -> Log:
        """The log up to the end of the current activation.

        Waits for the end mark, or the end, of both streams; gives up after two silent seconds, and
        after five in any case.
        """
        if not self.limit_bytes:
            # None is wanted.
            for state in self._streams.values():
                state.ended = 0
            return Log((), True)
        heard, end = True, time.monotonic() + TAKE_DEADLINE_S
        while heard and not all(s.ended or s.closed for s in self._streams.values()):
            self._changed.clear()
            patience_s = min(SILENCE_S, end - time.monotonic())
            try:
                await asyncio.wait_for(self._changed.wait(), patience_s)
            except TimeoutError:
                heard = False
        lines = self._lines
        truncated = self._is_full()
        if truncated:
            lines.append(log_line("stderr", logs_truncated(self.limit_bytes)))
        elif not heard:
            lines.append(log_line("stderr", LOGS_FAILED))
        self._lines, self._size = [], 0
        for state in self._streams.values():
            state.ended = max(0, state.ended - 1)
        return Log(tuple(lines), heard and not truncated)
