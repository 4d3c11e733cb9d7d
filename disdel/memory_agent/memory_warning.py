"""The warning that a container is about to run out of memory, as the memory agent hears it.

It is one message on a Redis channel:

    2 GRANT EXPIRY SIGNATURE {"host": …, "limit_bytes": …, …}

GRANT and EXPIRY are those of the activation's grant (see disdel/protocol/memory_grant.py), and
SIGNATURE is the hexadecimal HMAC-SHA256, by the grant's key, of the JSON text. Whoever publishes it
must not need a Redis client for it: the action proxy imports this file as a top-level module, so it
is standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import IO, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

CHANNEL = "disdel:memory"
VERSION = 2
TIMEOUT_S = 1.0
# Of stores that are no Redis (disdel/store/opening.py).
_OTHER_STORES = ("lent+", "inline:", "s3:")
_PORT = 6379
# Before a warning is repeated; the agent acts on it once.
PAUSES_S = (1.0, 2.0, 4.0)


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
        time_s: when that was, in seconds since the epoch.
    """

    host: str
    action: str
    activation_id: str
    used_bytes: int
    limit_bytes: int
    critical_bytes: int
    time_s: int

    def signed(self, grant: str) -> bytes:
        """The message, by the right of `grant` (`ID:EXPIRY:KEY`).

        Raises:
            ValueError: that is no grant. Its text, which holds a key, is not told.
        """
        try:
            identity, expires_s, key = grant.split(":")
            body = json.dumps(asdict(self)).encode()
            signature = sign(bytes.fromhex(key), body)
        except ValueError:
            raise ValueError("the parameter memory_grant is no grant") from None
        return f"{VERSION} {identity} {expires_s} {signature} ".encode() + body


def sign(key: bytes, body: bytes) -> str:
    return hmac.digest(key, body, hashlib.sha256).hex()


class Teller:
    """Warns the agents in the name of one activation, and again while nothing has come of it.

    A message may be lost: where no agent listens for a moment, or too much is said at once.

    Args:
        arguments: of the activation.
        limit_now: the container's memory limit, in bytes.
        log: gets a line where the agents cannot be told.
    """

    def __init__(
        self,
        arguments: object,
        limit_now: Callable[[], int | None],
        log: Callable[[str], None],
    ) -> None:
        self._arguments = arguments
        self._limit_now = limit_now
        self._log = log
        self._ended = threading.Event()

    def warn(self, *, used_bytes: int, limit_bytes: int, critical_bytes: int) -> None:
        """Warn that `used_bytes` come near to `limit_bytes`; waits for the first answer only."""

        def tell() -> bool:
            return tell_agent(
                self._arguments,
                used_bytes=used_bytes,
                limit_bytes=limit_bytes,
                critical_bytes=critical_bytes,
            )

        try:
            if not tell():
                return
        except (OSError, ValueError) as error:
            self._log(f"disdel: the memory agent was not told: {error}\n")
        threading.Thread(target=self._repeat, args=(tell, limit_bytes), daemon=True).start()

    def _repeat(self, tell: Callable[[], object], limit_bytes: int) -> None:
        for pause_s in PAUSES_S:
            if self._ended.wait(pause_s) or self._limit_now() != limit_bytes:
                return
            with contextlib.suppress(OSError, ValueError):
                tell()

    def end(self) -> None:
        """The activation is over."""
        self._ended.set()


def tell_agent(
    arguments: object, *, used_bytes: int, limit_bytes: int, critical_bytes: int
) -> bool:
    """Warn the agents, in the name of the activation that runs here with these `arguments`.

    Returns:
        False where the arguments name no Redis or carry no grant: no agent would listen.

    Raises:
        OSError: nobody answers, or Redis refuses.
        ValueError: the Redis's URL or the grant is none.
    """
    if not isinstance(arguments, dict):
        return False
    redis_url, grant = arguments.get("store"), arguments.get("memory_grant")
    if not isinstance(redis_url, str) or not isinstance(grant, str):
        return False
    if redis_url.startswith(_OTHER_STORES):
        return False
    warning = MemoryWarning(
        host=socket.gethostname(),
        action=os.environ.get("__OW_ACTION_NAME", ""),
        activation_id=os.environ.get("__OW_ACTIVATION_ID", ""),
        used_bytes=used_bytes,
        limit_bytes=limit_bytes,
        critical_bytes=critical_bytes,
        time_s=int(time.time()),
    )
    publish(redis_url, warning.signed(grant))
    return True


def publish(url: str, message: bytes, *, timeout_s: float = TIMEOUT_S) -> int:
    """Publish a message on the Redis at `url` (`redis://` or `rediss://`, with or without key).

    Args:
        url: as redis-py takes it; options behind a `?` are ignored.
        message: what to say.
        timeout_s: for each step: to connect, and to wait for each of the answers.

    Returns:
        How many agents heard it.

    Raises:
        OSError: nobody answers, or Redis refuses.
        ValueError: not such a URL.
    """
    with (
        connect(url, timeout_s) as connection,
        cast(IO[bytes], connection.makefile("rwb")) as stream,
    ):
        return int(_ask(stream, b"PUBLISH", CHANNEL.encode(), message))


def connect(url: str, timeout_s: float) -> socket.socket:
    """The monitor's connection to the Redis at `url`, with the password that the URL has.

    Raises:
        OSError: nobody answers, or Redis refuses.
        ValueError: not such a URL.
    """
    parts = _split(url)
    connection = _open(parts, timeout_s)
    try:
        if parts.password:
            user = [unquote(parts.username).encode()] if parts.username else []
            with cast(IO[bytes], connection.makefile("rwb")) as stream:
                _ask(stream, b"AUTH", *user, unquote(parts.password).encode())
    except BaseException:
        connection.close()
        raise
    return connection


def command(*words: bytes) -> bytes:
    """A command as Redis reads it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


def _split(url: str) -> SplitResult:
    """The parts of a Redis URL; raises without its text, which may hold a password."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        # Reading the port is what finds that it is no number.
        if parts.scheme in ("redis", "rediss") and parts.port != 0:
            return parts
    raise ValueError("warnings go to a redis:// or rediss:// URL")


def _open(parts: SplitResult, timeout_s: float) -> socket.socket:
    host = parts.hostname or "localhost"
    connection = socket.create_connection((host, parts.port or _PORT), timeout_s)
    if parts.scheme == "redis":
        return connection
    # Wrapping takes the descriptor over, so that this closes it only where wrapping failed.
    with connection:
        query = dict(parse_qsl(parts.query))
        context = ssl.create_default_context(
            cafile=query.get("ssl_ca_certs"), cadata=query.get("ssl_ca_data")
        )
        return context.wrap_socket(connection, server_hostname=host)


def _ask(stream: IO[bytes], *words: bytes) -> str:
    """Send one command and return its answer, which must be a line (`+text` or `:number`)."""
    stream.write(command(*words))
    stream.flush()
    answer = stream.readline().decode(errors="replace").rstrip("\r\n")
    if answer[:1] not in ("+", ":"):
        said = answer or "it closed the connection"
        raise OSError(f"Redis refused {words[0].decode()}: {said}")
    return answer[1:]
