"""The agent: hears warnings on Redis, decides, and has pods resized, one warning after another.

Warnings are not kept: one that is published while nobody listens is lost, and the action's own
checkpoint is what saves its work then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import redis

from disdel.errors import ConnectionRefused, DisdelError, UsageError
from disdel.memory_agent.decide import Grow, Policy, decide
from disdel.memory_agent.memory_warning import CHANNEL, VERSION, MemoryWarning
from disdel.memory_agent.pods import Pods
from disdel.units import format_bytes
from disdel.wire import from_json

_POLL_S = 5.0
_RECONNECT_S = 1.0
_CONNECT_TIMEOUT_S = 5.0

Tell = Callable[[str], None]


def serve(redis_url: str, pods: Pods, policy: Policy, tell: Tell) -> None:
    """Grow pods for ever; `tell` gets one line for everything that happens.

    Raises:
        ConnectionRefused: there is no Redis at `redis_url` to begin with. Later it may go and come.
    """
    for message in messages(redis_url, tell):
        tell(answer(message, pods, policy))


def answer(message: bytes, pods: Pods, policy: Policy) -> str:
    """Act on one message of the channel, whatever it holds, and say what was done."""
    try:
        warning = read_warning(message)
    except UsageError as error:
        return f"ignored a message: {error}"
    about = f"{warning.host} ({warning.action or 'unnamed action'})"
    try:
        decision = decide(warning, pods.list(), policy)
        if not isinstance(decision, Grow):
            return f"{about} stays at {format_bytes(warning.limit_bytes)}: {decision.reason}"
        pods.resize(decision.pod, decision.limit_bytes)
    except DisdelError as error:
        return f"{about} stays at {format_bytes(warning.limit_bytes)}: {error}"
    before, after = format_bytes(decision.pod.limit_bytes), format_bytes(decision.limit_bytes)
    return f"{about} grows from {before} to {after}"


def read_warning(message: bytes) -> MemoryWarning:
    """The warning in a message of the channel; fields of later releases are ignored.

    Raises:
        UsageError: it is none, or of another version.
    """
    try:
        fields = json.loads(message)
    except ValueError as error:
        raise UsageError(f"not JSON: {error}") from error
    if not isinstance(fields, dict) or fields.get("version") != VERSION:
        raise UsageError(f"not a memory warning of version {VERSION}")
    return from_json(MemoryWarning, fields)


def messages(redis_url: str, tell: Tell) -> Iterator[bytes]:
    """The messages of the channel, across lost connections.

    Raises:
        ConnectionRefused: there is no Redis at `redis_url` to begin with.
    """
    try:
        client = redis.Redis.from_url(
            redis_url,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_keepalive=True,
            health_check_interval=_POLL_S,
            retry=None,
        )
    except ValueError as error:
        raise ConnectionRefused("--redis is not a Redis URL") from error
    heard = False
    with closing(client):
        while True:
            try:
                for message in _subscribed(client):
                    if message is None:
                        tell(f"listening on {CHANNEL}")
                        heard = True
                    else:
                        yield message
            except redis.RedisError as error:
                if not heard:
                    raise ConnectionRefused(f"no Redis to listen on: {error}") from error
                tell(f"lost Redis, trying again: {error}")
                time.sleep(_RECONNECT_S)


def _subscribed(client: redis.Redis) -> Iterator[bytes | None]:
    """None once Redis has confirmed the subscription, then messages until the connection fails."""
    with client.pubsub() as channel:  # type: ignore[no-untyped-call]
        channel.subscribe(CHANNEL)
        while True:
            # Returning now and then lets the client check that the connection still lives.
            message = channel.get_message(timeout=_POLL_S)
            if message is not None and message["type"] in ("subscribe", "message"):
                yield message["data"] if message["type"] == "message" else None
