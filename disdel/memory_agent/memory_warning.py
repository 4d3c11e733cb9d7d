"""The warning that a container is about to run out of memory, as the memory agent hears it.

It is one JSON object on a Redis channel. Whoever publishes it must not need a Redis client for it:
the action proxy imports this file as a top-level module, so it is standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
from dataclasses import asdict, dataclass
from typing import IO, cast
from urllib.parse import SplitResult, unquote, urlsplit

CHANNEL = "disdel:memory"
VERSION = 1
TIMEOUT_S = 1.0
_PORT = 6379


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryWarning:
    """A container that has entered its critical region.

    Attributes:
        host: the container's host name, which on Kubernetes is its pod's name.
        action: the action's full name, "" where the platform does not tell it.
        activation_id: what runs, likewise.
        used_bytes: memory that counts, when it crossed.
        limit_bytes: the limit at that moment.
        critical_bytes: the size of the critical region.
    """

    host: str
    action: str
    activation_id: str
    used_bytes: int
    limit_bytes: int
    critical_bytes: int

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)})


def tell_agent(redis_url: str, *, used_bytes: int, limit_bytes: int, critical_bytes: int) -> None:
    """Warn the agents that listen on a Redis, in the name of the activation that runs here.

    Raises:
        OSError: nobody answers, or Redis refuses.
        ValueError: `redis_url` is not such a URL.
    """
    warning = MemoryWarning(
        host=socket.gethostname(),
        action=os.environ.get("__OW_ACTION_NAME", ""),
        activation_id=os.environ.get("__OW_ACTIVATION_ID", ""),
        used_bytes=used_bytes,
        limit_bytes=limit_bytes,
        critical_bytes=critical_bytes,
    )
    publish(redis_url, warning)


def publish(url: str, warning: MemoryWarning, *, timeout_s: float = TIMEOUT_S) -> int:
    """Publish a warning on the Redis at `url` (`redis://` or `rediss://`, with or without key).

    Args:
        url: as redis-py takes it; options behind a `?` are ignored.
        warning: what to say.
        timeout_s: for each step: to connect, and to wait for each of the answers.

    Returns:
        How many agents heard it.

    Raises:
        OSError: nobody answers, or Redis refuses.
        ValueError: not such a URL.
    """
    parts = _split(url)
    with (
        _connect(parts, timeout_s) as connection,
        cast(IO[bytes], connection.makefile("rwb")) as stream,
    ):
        if parts.password:
            user = [unquote(parts.username)] if parts.username else []
            _ask(stream, "AUTH", *user, unquote(parts.password))
        return int(_ask(stream, "PUBLISH", CHANNEL, warning.to_json()))


def _split(url: str) -> SplitResult:
    """The parts of a Redis URL; raises without its text, which may hold a password."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        # Reading the port is what finds that it is no number.
        if parts.scheme in ("redis", "rediss") and parts.port != 0:
            return parts
    raise ValueError("warnings go to a redis:// or rediss:// URL")


def _connect(parts: SplitResult, timeout_s: float) -> socket.socket:
    host = parts.hostname or "localhost"
    connection = socket.create_connection((host, parts.port or _PORT), timeout_s)
    if parts.scheme == "redis":
        return connection
    # Wrapping takes the descriptor over, so that this closes it only where wrapping failed.
    with connection:
        return ssl.create_default_context().wrap_socket(connection, server_hostname=host)


def _ask(stream: IO[bytes], *words: str) -> str:
    """Send one command and return its answer, which must be a line (`+text` or `:number`)."""
    encoded = [word.encode() for word in words]
    stream.write(b"*%d\r\n" % len(encoded))
    for word in encoded:
        stream.write(b"$%d\r\n%b\r\n" % (len(word), word))
    stream.flush()
    answer = stream.readline().decode(errors="replace").rstrip("\r\n")
    if answer[:1] not in ("+", ":"):
        raise OSError(f"Redis refused {words[0]}: {answer or 'it closed the connection'}")
    return answer[1:]
