"""The two streams of a container's output, on their way to its log."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from openwhisk_local.containers.logs import LogCollector, Stream


class _Feeder(asyncio.Protocol):
    def __init__(self, logs: LogCollector, stream: Stream) -> None:
        self._logs = logs
        self._stream: Stream = stream
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._logs.feed(self._stream, data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._logs.close(self._stream)
        self.ended.set()


@dataclass(frozen=True, slots=True)
class Outlet:
    """The platform's end of a pipe; unlike asyncio's own, it can be closed before the other end."""

    _feeder: _Feeder
    _transport: asyncio.ReadTransport

    @classmethod
    async def open(cls, logs: LogCollector, stream: Stream) -> tuple[Outlet, int]:
        """A new pipe, whose other end is a descriptor that the caller has to close.

        Raises:
            OSError: there are too many open files.
        """
        read_end, write_end = os.pipe()
        source = os.fdopen(read_end, "rb", buffering=0)
        try:
            transport, feeder = await asyncio.get_running_loop().connect_read_pipe(
                lambda: _Feeder(logs, stream), source
            )
        except BaseException:
            source.close()
            os.close(write_end)
            raise
        return cls(feeder, transport), write_end

    async def ended(self) -> None:
        """Return when nobody holds the other end any more, or this one is closed."""
        await self._feeder.ended.wait()

    def close(self) -> None:
        """Close this end, whoever may still hold the other one."""
        self._transport.close()
