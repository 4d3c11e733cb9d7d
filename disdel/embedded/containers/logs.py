"""The output of a container, cut into the log of one activation after another."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from disdel.embedded.replies import LOGS_FAILED, logs_truncated

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
SILENCE_S = 2.0
MAX_LINE_BYTES = 1 << 20
STAMP_WIDTH = 30

Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Log:
    """One activation's lines; `complete` is false when some were cut off or may be missing."""

    lines: tuple[str, ...]
    complete: bool


def log_line(stream: Stream, text: str) -> str:
    """A line as OpenWhisk stores it: time in 30 columns, stream, text."""
    now_ns = time.time_ns()
    second = datetime.fromtimestamp(now_ns // 10**9, UTC)
    stamp = f"{second:%Y-%m-%dT%H:%M:%S}.{now_ns % 10**9:09d}Z"
    return f"{stamp:<{STAMP_WIDTH}} {stream}: {text}"


@dataclass(slots=True)
class _StreamState:
    partial: bytes = b""
    ended: int = 0
    closed: bool = False


@dataclass(slots=True)
class LogCollector:
    """Takes the bytes of both streams as they come and gives out the lines of an activation.

    Args:
        limit_bytes: what is kept of one activation's lines.
    """

    limit_bytes: int
    _streams: dict[Stream, _StreamState] = field(
        default_factory=lambda: {"stdout": _StreamState(), "stderr": _StreamState()}
    )
    _lines: list[str] = field(default_factory=list)
    _size: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, stream: Stream, source: asyncio.StreamReader) -> None:
        """Take everything from a stream until its end."""
        while chunk := await source.read(1 << 16):
            self.feed(stream, chunk)
        self.close(stream)

    def feed(self, stream: Stream, chunk: bytes) -> None:
        state = self._streams[stream]
        *whole, state.partial = (state.partial + chunk).split(b"\n")
        for line in whole:
            self._add(stream, line)
        if len(state.partial) > MAX_LINE_BYTES:
            self._add(stream, state.partial)
            state.partial = b""
        self._changed.set()

    def close(self, stream: Stream) -> None:
        state = self._streams[stream]
        if state.partial:
            self._add(stream, state.partial)
        state.partial, state.closed = b"", True
        self._changed.set()

    def _add(self, stream: Stream, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        if text.endswith(SENTINEL):
            self._streams[stream].ended += 1
            # The action's last line may lack its newline.
            text = text.removesuffix(SENTINEL)
            if not text:
                return
        self._size += len(line)
        if self._size <= self.limit_bytes:
            self._lines.append(log_line(stream, text))

    async def take(self) -> Log:
        """The log up to the end of the current activation.

        Waits for the end mark, or the end, of both streams; gives up after two silent seconds.
        """
        heard = True
        while heard and not all(s.ended or s.closed for s in self._streams.values()):
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), SILENCE_S)
            except TimeoutError:
                heard = False
        lines = self._lines
        truncated = self.limit_bytes > 0 and self._size > self.limit_bytes
        if truncated:
            lines.append(log_line("stderr", logs_truncated(self.limit_bytes)))
        elif not heard:
            lines.append(log_line("stderr", LOGS_FAILED))
        self._lines, self._size = [], 0
        for state in self._streams.values():
            state.ended = max(0, state.ended - 1)
        return Log(tuple(lines), heard and not truncated)
