"""HTTP to the action proxy of a container, over one end of a pair of sockets.

The proxy inherits the other end. Neither has a name, so that nobody else can connect: no other user
of the machine, no other container and no web page.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field

import h11

_CHUNK_BYTES = 1 << 16


class ChannelUnread(ConnectionError):
    """The container is gone, and it has not had the whole of the request."""


class ChannelLost(ConnectionError):
    """The container is gone, or answers something that is not HTTP."""


@dataclass(slots=True)
class Answer:
    """What came back: of the body's `size_bytes`, only as many as were wanted."""

    status: int
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    size_bytes: int = 0


class Channel:
    """The platform's end; one exchange at a time. Use `Channel.open`, and `close` in the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, end: socket.socket) -> Channel:
        """Take over one end of a pair."""
        return cls(*await asyncio.open_connection(sock=end))

    def close(self) -> None:
        """Close this end at once; an exchange that is under way is lost. May be called again."""
        self._writer.transport.abort()

    async def exchange(
        self, method: str, path: str, body: bytes = b"", *, keep_bytes: int = 0
    ) -> Answer:
        """Send one request and wait for its answer, however long that takes.

        Args:
            method: as HTTP has it.
            path: the request's target.
            body: JSON.
            keep_bytes: how much of the answer's body to keep.

        Raises:
            ChannelUnread: the request cannot have been acted on.
            ChannelLost: it may have been.
        """
        try:
            await self._send(method, path, body)
        except (OSError, h11.LocalProtocolError) as error:
            raise ChannelUnread(str(error)) from error
        try:
            return await self._receive(keep_bytes)
        except (OSError, h11.RemoteProtocolError, ValueError) as error:
            raise ChannelLost(str(error)) from error

    async def _send(self, method: str, path: str, body: bytes) -> None:
        if self._reader.at_eof() or self._writer.is_closing():
            raise ConnectionResetError
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        headers = [
            ("host", "container"),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
        ]
        events = (
            h11.Request(method=method, target=path, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        for event in events:
            self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()

    async def _receive(self, keep_bytes: int) -> Answer:
        answer = None
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_CHUNK_BYTES))
            elif isinstance(event, h11.Response):
                headers = {name.decode(): text.decode("latin-1") for name, text in event.headers}
                answer = Answer(event.status_code, headers)
            elif isinstance(event, h11.Data) and answer is not None:
                answer.body += event.data[: keep_bytes - len(answer.body)]
                answer.size_bytes += len(event.data)
            elif isinstance(event, h11.EndOfMessage) and answer is not None:
                return answer
            elif not isinstance(event, h11.InformationalResponse):
                raise ConnectionResetError
