"""Proxies in front of a platform's API and of a Redis that do to requests what networks do.

A proxy knows where a request and its reply end, so a fault hits one request of one kind: `POST
actions`, `SET`. Several faults for one kind hit its next requests one after the other.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from contextlib import closing, suppress
from typing import BinaryIO

from disdel.types.events import Noted, RoundStarted
from tests.support.ports import free_port

# Sends a reset instead of an orderly end when the socket is closed.
_RESET = struct.pack("ii", 1, 0)


class Fault:
    """What happens to one request: it reaches the server or not, and what comes back."""

    def __init__(self, name, *, reaches=False, reply=None, delay_s=0.0, keep=0.0):
        """`reply` is sent instead of the server's, of which else the share `keep` is sent."""
        self.name = name
        self.reaches = reaches
        self.reply = reply
        self.delay_s = delay_s
        self.keep = keep

    def __repr__(self):
        return self.name


CUT_BEFORE = Fault("cut before")
CUT_AFTER = Fault("cut after", reaches=True)
CUT_IN_REPLY = Fault("cut in the reply", reaches=True, keep=0.6)


def delayed(seconds):
    return Fault(f"{seconds:g} s late", reaches=True, keep=1.0, delay_s=seconds)


def http_reply(status, body=b"<html>gateway</html>", headers="", *, reaches=False):
    """An answer that is not the platform's own, such as a gateway's."""
    kind = "text/html" if body.startswith(b"<") else "application/json"
    head = (
        f"HTTP/1.1 {status} Fault\r\ncontent-length: {len(body)}\r\n"
        f"content-type: {kind}\r\n{headers}\r\n"
    )
    return Fault(
        f"{status}{' after' if reaches else ''}", reply=head.encode() + body, reaches=reaches
    )


def redis_error(text):
    return Fault(text.partition(" ")[0], reply=f"-{text}\r\n".encode())


class Proxy:
    """Between clients and `upstream` (host, port); a context manager.

    Attributes:
        port: where clients connect.
        seen: the kinds of all requests, in the order in which they came.
        struck: what has been done to which kind.
        leaves_at: the kind and number of the request with which it goes away.
    """

    def __init__(self, upstream):
        self._upstream = upstream
        self._faults = defaultdict(deque)
        self._always = {}
        self._lock = threading.Lock()
        self._open = set()
        self._listener = None
        self.port = free_port()
        self.seen = []
        self.struck = []
        self.leaves_at = None

    def on(self, kind, *faults):
        """Let the next requests of a kind suffer, one fault each."""
        self._faults[kind].extend(faults)

    def always(self, kind, fault):
        """Let every request of a kind suffer; None ends that."""
        self._always[kind] = fault

    def away(self):
        """From now on nobody answers, and connections are reset."""
        with self._lock:
            listener, self._listener = self._listener, None
            if listener is not None:
                with suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                listener.close()
            for connection in self._open:
                _reset(connection)

    def back(self):
        """Listen (again), at the same port; several threads may say so."""
        with self._lock:
            if self._listener is not None:
                return
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def __enter__(self):
        self.back()
        return self

    def __exit__(self, *raised):
        self.away()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(listener, client), daemon=True).start()

    def _serve(self, listener, client):
        with suppress(OSError), closing(client), socket.create_connection(self._upstream) as server:
            pair = {client, server}
            with self._lock:
                if self._listener is not listener:
                    # It went away in between.
                    return
                self._open |= pair
            try:
                with client.makefile("rb") as from_client, server.makefile("rb") as from_server:
                    while self._exchange(client, from_client, server, from_server):
                        pass
            finally:
                with self._lock:
                    self._open -= pair

    def _exchange(self, client, from_client, server, from_server):
        """Pass one request on, and its reply back; whether the connection goes on."""
        request, kind = self._read_request(from_client)
        if not request:
            return False
        fault = self._fault_of(kind)
        if self.leaves_at == (kind, self.seen.count(kind)):
            self.away()
        if fault is None:
            server.sendall(request)
            client.sendall(self._read_reply(from_server, kind))
            return True
        reply = fault.reply
        if fault.reaches:
            server.sendall(request)
            whole = self._read_reply(from_server, kind)
            reply = whole[: int(len(whole) * fault.keep)] if reply is None else reply
        time.sleep(fault.delay_s)
        if reply:
            client.sendall(reply)
        if fault.reply is None and fault.keep < 1.0:
            if reply:
                # What has been sent arrives before the end does.
                client.shutdown(socket.SHUT_WR)
            else:
                _reset(client)
            return False
        return True

    def _fault_of(self, kind):
        with self._lock:
            self.seen.append(kind)
            waiting = self._faults[kind]
            fault = waiting.popleft() if waiting else self._always.get(kind)
            if fault is not None:
                self.struck.append((kind, fault))
            return fault

    def _read_request(self, stream: BinaryIO) -> tuple[bytes, str]:
        raise NotImplementedError

    def _read_reply(self, stream: BinaryIO, kind: str) -> bytes:
        raise NotImplementedError


def _reset(connection):
    """Wake up the thread that reads from a connection, so that it closes it, with a reset."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.shutdown(socket.SHUT_RD)


def going_away_twice(proxy, events):
    """A listener: the first outage lasts until somebody speaks of it, the second is short."""
    ends = iter([lambda: None, threading.Timer(0.5, proxy.back).start])

    def listen(event):
        events.append(event)
        if isinstance(event, RoundStarted) and (end := next(ends, None)):
            proxy.away()
            end()
        if isinstance(event, Noted) and "trying again" in event.message:
            proxy.back()

    return listen


class PlatformProxy(Proxy):
    """In front of OpenWhisk's API; kinds are a method and a collection: `POST actions`."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _read_request(self, stream):
        head = _read_head(stream, _line)
        if not head:
            return b"", ""
        method, path = head.split(b" ", 2)[:2]
        collection = re.search(rb"/namespaces/_/(\w+)", path)
        name = collection[1] if collection else path.partition(b"?")[0]
        return head + _read_body(stream, head), f"{method.decode()} {name.decode()}"

    def _read_reply(self, stream, kind):
        head = _read_head(stream)
        return head + _read_body(stream, head)


def _line(stream):
    """The next line; nothing at the end of the stream.

    Raises:
        ConnectionError: it was cut in the midst of a line.
    """
    line = stream.readline()
    if line and not line.endswith(b"\n"):
        raise ConnectionError("cut in a line")
    return line


def _next_line(stream):
    """The next line, where there must be one."""
    if not (line := _line(stream)):
        raise ConnectionError("cut between two lines")
    return line


def _read_head(stream, first=_next_line):
    lines = [first(stream)]
    while lines[-1].strip():
        lines.append(_next_line(stream))
    return b"".join(lines) if len(lines) > 1 else b""


def _read_body(stream, head):
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if length:
        return stream.read(int(length[1]))
    if not re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        return b""
    chunks = []
    while True:
        line = _next_line(stream)
        size = int(line, 16)
        chunks += [line, stream.read(size + len(b"\r\n"))]
        if size == 0:
            return b"".join(chunks)


class RedisProxy(Proxy):
    """In front of a Redis; kinds are commands: `SET`."""

    def __init__(self, url):
        self._credentials, _, place = url.partition("://")[2].rpartition("@")
        host, _, port = place.partition(":")
        super().__init__((host, int(port)))

    @property
    def url(self):
        at = "@" if self._credentials else ""
        return f"redis://{self._credentials}{at}127.0.0.1:{self.port}"

    def _read_request(self, stream):
        raw = _read_value(stream, _line)
        return raw, raw.split(b"\r\n", 3)[2].decode().upper() if raw else ""

    def _read_reply(self, stream, kind):
        return _read_value(stream)


def _read_value(stream, first=_next_line):
    """One value of Redis's protocol, as its bytes."""
    line = first(stream)
    kind, rest = line[:1], line[1:].strip()
    if kind in (b"$", b"=") and int(rest) >= 0:
        return line + stream.read(int(rest) + len(b"\r\n"))
    # Arrays, sets and pushes; maps have two values an entry.
    if kind in (b"*", b"~", b">", b"%") and int(rest) > 0:
        values = int(rest) * (2 if kind == b"%" else 1)
        return line + b"".join(_read_value(stream) for _ in range(values))
    return line
