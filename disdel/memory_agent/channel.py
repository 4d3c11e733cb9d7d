"""The messages of the warnings' channel, across lost connections and whatever is published there.

Redis sends messages of up to 512 MB, and its usual client reads each of them whole, so that anybody
who may publish could end a small container. This reads the start of a message and drops the rest.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from socket import socket

from disdel.errors import ConnectionRefused
from disdel.memory_agent.memory_warning import CHANNEL, command, connect

# Of a longer message this much and a byte is handed on, which tells that it is too long.
MAX_BYTES = 4096
_POLL_S = 5.0
_RECONNECT_S = 1.0
_CONNECT_TIMEOUT_S = 5.0
_CHUNK_BYTES = 1 << 18
_LINE_BYTES = 1 << 10
_MESSAGE = re.compile(
    rb"\*3\r\n\$7\r\nmessage\r\n\$%d\r\n%b\r\n\$(\d{1,10})\r\n" % (len(CHANNEL), CHANNEL.encode())
)


def messages(redis_url: str, tell: Callable[[str], None]) -> Iterator[bytes]:
    """What is published on the channel, the first `MAX_BYTES` + 1 bytes of each message.

    Raises:
        ConnectionRefused: there is no Redis at `redis_url` to begin with. Later it may go and come.
    """
    heard = False
    while True:
        begun_s = time.monotonic()
        try:
            try:
                connection = connect(redis_url, _CONNECT_TIMEOUT_S)
            except ValueError as error:
                raise ConnectionRefused(f"--redis is not a Redis URL: {error}") from error
            with closing(connection):
                stream = _Stream(connection)
                stream.subscribe()
                tell(f"listening on {CHANNEL}")
                heard = True
                while True:
                    yield stream.message()
        except OSError as error:
            if not heard:
                raise ConnectionRefused(f"no Redis to listen on: {error}") from error
            tell(f"lost Redis, trying again: {error}")
            # Whoever was only too slow for a moment is not away for longer than that.
            time.sleep(_RECONNECT_S - min(_RECONNECT_S, time.monotonic() - begun_s))


class _Stream:
    """What Redis sends on a connection that subscribes.

    All methods raise OSError where the connection is lost or what comes is not Redis's language.
    """

    def __init__(self, connection: socket) -> None:
        connection.settimeout(_POLL_S)
        self._connection = connection
        self._chunk = memoryview(bytearray(_CHUNK_BYTES))
        # What has come and was not handed on begins at `_at`.
        self._buffer = b""
        self._at = 0

    def subscribe(self) -> None:
        self._connection.sendall(command(b"SUBSCRIBE", CHANNEL.encode()))
        self._number(b"*")
        for _ in range(2):
            self._bulk()
        self._number(b":")

    def message(self) -> bytes:
        """The start of the next message."""
        while True:
            found = _MESSAGE.match(self._buffer, self._at)
            if found:
                self._at = found.end()
                return self._taken(int(found[1]))
            # A message whose head is not all there yet, or the answer to a PING.
            parts = [self._bulk() for _ in range(self._number(b"*"))]
            if parts[:1] == [b"message"]:
                return parts[-1]

    def _bulk(self) -> bytes:
        return self._taken(self._number(b"$"))

    def _number(self, kind: bytes) -> int:
        line = self._line()
        if line[:1] != kind or not line[1:].isdigit():
            raise OSError(f"Redis says {line[:80].decode(errors='replace')!r}")
        return int(line[1:])

    def _taken(self, size: int) -> bytes:
        """The first bytes of what is `size` bytes long; the rest and the line's end are passed."""
        wanted, left = min(size, MAX_BYTES + 1), size + 2
        while len(self._buffer) - self._at < wanted:
            self._fill()
        kept = self._buffer[self._at : self._at + wanted]
        while left > len(self._buffer) - self._at:
            left -= len(self._buffer) - self._at
            self._at = len(self._buffer)
            left -= self._pass(left)
        self._at += left
        return kept

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n", self._at)) < 0:
            if len(self._buffer) - self._at > _LINE_BYTES:
                raise OSError("Redis sends a line without an end")
            self._fill()
        line = self._buffer[self._at : end]
        self._at = end + 2
        return line

    def _fill(self) -> None:
        """Wait for more."""
        size = self._receive(_CHUNK_BYTES)
        self._buffer = self._buffer[self._at :] + bytes(self._chunk[:size])
        self._at = 0

    def _pass(self, left: int) -> int:
        """Wait for up to `left` bytes and drop them; how many these were."""
        return self._receive(min(left, _CHUNK_BYTES))

    def _receive(self, size: int) -> int:
        """How many bytes have come, `size` at most; they are in `_chunk`.

        A Redis that has said nothing for long is asked whether it lives.
        """
        try:
            received = self._connection.recv_into(self._chunk, size)
        except TimeoutError:
            self._connection.sendall(command(b"PING"))
            received = self._connection.recv_into(self._chunk, size)
        if not received:
            raise OSError("Redis closed the connection")
        return received
