"""The HTTP server: uvicorn, with an end to everything that a client can hold up.

A client holds a connection, and with it a descriptor of the platform's: while the head or the body
of a request is on its way, while a reply is, and in between. uvicorn bounds only the last. Here
each has its time, and connections together have a bound below the limit on open files. When that
is reached, whoever comes next takes the place of the one that has kept the platform waiting
longest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from openwhisk_local.errors import Refused

HEAD_S = 10.0
BODY_S = 60.0
# Without any progress.
REPLY_S = 60.0
# Idle clients are given longer than the platform's own blocking wait.
KEEP_ALIVE_S = 75
MAX_CONNECTIONS = 1024

_SHUTDOWN_S = 5
_JOINED_BYTES = 1 << 16
# The date in replies has seconds, and so have the times above.
_TICK_S = 1.0
# Of connections that wait for the platform to take them, and of those that it takes at once.
_BACKLOG = 1024
_LAST_PORT = 65_535
_BATCH = 32

# Who has to go first where there is no room; whoever is being worked for stays.
_RANKS = {"head": 0, "rest": 0, "body": 1, "reply": 1, "idle": 2}


def connection_bound() -> int:
    """How many clients may be connected; the other half of the open files is for containers."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(soft // 2, MAX_CONNECTIONS)


@dataclass(frozen=True, slots=True)
class _Phase:
    """What a connection waits for; `of` tells one request, or one state of a reply, from another.

    `limit_s` is None while the platform is at work, or idle by uvicorn's own clock.
    """

    name: str
    limit_s: float | None
    of: object = None


class JoinedWrites:
    """A transport that sends at once what is written in one turn of the event loop.

    uvicorn writes head and body of a reply one after the other, and some clients take what comes
    first for all there is.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def write(self, data: bytes) -> None:
        """Send data with what else is written in this turn of the loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _JOINED_BYTES:
            # From here on the transport says when to wait.
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting, self._waiting_bytes = [], 0
            self._transport.write(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        return self._waiting_bytes + self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(H11Protocol):
    """uvicorn's connection, which knows how long it has been waiting for its client."""

    bound: int

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.phase = _Phase("head", HEAD_S)
        self.since = time.monotonic()
        self.joined = JoinedWrites(transport)
        super().connection_made(self.joined)  # type: ignore[arg-type]
        if len(self.connections) > self.bound:
            self._make_room()

    def _make_room(self) -> None:
        """Close the connection that has kept the platform waiting longest, else this one."""
        now = time.monotonic()
        others = [o for o in self.connections if isinstance(o, Connection) and o is not self]
        while waiting := [other for other in others if other.waits]:
            first = min(waiting, key=lambda other: (_RANKS[other.phase.name], other.since))
            seen = first.phase
            first.look(now)
            # What was true at the last look need not be so any more.
            if first.phase == seen:
                first.drop()
                return
        self.drop()

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn, and the connection not closed already."""
        return self.phase.name in _RANKS and not self.transport.is_closing()

    def look(self, now: float) -> None:
        """Notice what the connection waits for, and since when."""
        phase = self._current_phase()
        if phase != self.phase:
            self.phase, self.since = phase, now

    def _current_phase(self) -> _Phase:
        unsent = self.transport.get_write_buffer_size()
        answered = self.cycle is None or self.cycle.response_complete
        if unsent:
            return _Phase("reply", REPLY_S, unsent)
        if self.conn.their_state is h11.SEND_BODY:
            # What was refused before it was read is still to come.
            name, limit_s = ("rest", HEAD_S) if answered else ("body", BODY_S)
            return _Phase(name, limit_s, self.cycle)
        if not answered:
            return _Phase("work", None, self.cycle)
        if self.timeout_keep_alive_task is not None and not self.conn.trailing_data[0]:
            return _Phase("idle", None, self.cycle)
        return _Phase("head", HEAD_S, self.cycle)

    def expire(self, now: float) -> None:
        """Close the connection if its client has had its time."""
        self.look(now)
        name, limit_s = self.phase.name, self.phase.limit_s
        if limit_s is None or now - self.since < limit_s:
            return
        if name in ("head", "body") and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._say_timeout(f"The {name} of the request took longer than {limit_s:g} s.")
        self.drop()

    def _say_timeout(self, text: str) -> None:
        head = (
            "HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\nconnection: close\r\n"
            f"content-length: {len(text)}\r\n\r\n"
        )
        self.transport.write(f"{head}{text}".encode())

    def drop(self) -> None:
        """Close the connection now; what the client has not taken is lost to it."""
        self.joined.flush()
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()


class Server(uvicorn.Server):
    """Serves until told to stop; signals are the caller's.

    Args:
        app: what answers.
        on_ready: called once requests are answered.
    """

    def __init__(self, app: ASGIApp, on_ready: Callable[[], None]) -> None:
        class Bounded(Connection):
            bound = connection_bound()

        # What clients send wrongly is their affair, and would fill the log.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        super().__init__(
            uvicorn.Config(
                app,
                http=Bounded,
                ws="none",
                backlog=_BATCH,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=_SHUTDOWN_S,
            )
        )
        self._on_ready = on_ready
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End serving now, where uvicorn would look for that at its next tick."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """As uvicorn's, and connections that do not proceed are ended."""
        while not await self.on_tick(0):
            now = time.monotonic()
            for connection in [*self.server_state.connections]:
                if isinstance(connection, Connection):
                    connection.expire(now)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.connections:
            await super().shutdown(sockets)
            return
        # There is nobody whom uvicorn would have to give a moment to read the last reply.
        for listening in (*self.servers, *(sockets or ())):
            listening.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            # asyncio takes as many connections at once as its queue is long, before any of them
            # can be counted: its queue is short, and the kernel's is not.
            listening.listen(_BACKLOG)
        self._on_ready()


def listen(port: int) -> socket.socket:
    """A listening socket on loopback.

    Its protocol is named, as `socket.create_server` would not: only then does asyncio send without
    Nagle's delay, which costs 40 ms a reply.

    Raises:
        Refused: there is no such port, or this user may not listen on it.
        OSError: the port is taken.
    """
    if not 0 <= port <= _LAST_PORT:
        raise Refused(f"--port must be from 0 to {_LAST_PORT}, not {port}")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
    except PermissionError as error:
        listener.close()
        raise Refused(
            f"--port {port} needs more rights ({error.strerror}): choose a larger one, or 0 for "
            "any that is free"
        ) from error
    except BaseException:
        listener.close()
        raise
    return listener
