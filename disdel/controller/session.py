"""The servers of a run: a platform and a Redis, found or started, and closed again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

from disdel.config import DEFAULT_PATIENCE_NETWORK_S, ApiAccess
from disdel.connections.trust import is_loopback
from disdel.errors import ConnectionRefused
from disdel.platforms.base import Platform
from disdel.platforms.embedded import (
    EmbeddedOptions,
    embedded_capacity,
    find_running,
    start_embedded,
)
from disdel.platforms.openwhisk.client import OpenWhisk
from disdel.settings import Settings
from disdel.store.private_redis import PrivateRedis, bridge_address
from disdel.store.redis_examination import Examination
from disdel.store.redis_store import RedisStore
from disdel.types import Capacity
from disdel.types.events import Listener, Noted, silent

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Session:
    """Open connections to the servers of a run.

    Attributes:
        platform: where actions run.
        platform_name: the word of the report.
        description: the platform for people.
        capacity: what it allows.
        store: the run's store.
        examination: what was seen of it.
        redis_url: the store as the actions reach it.
        lasting_apihost: the platform, where it outlives this session.
        insecure: whether the platform's certificate is not checked.
        lasting_redis: the Redis, where it outlives this session.
        patience_s: how long either is tried again when it fails.
        action_env: variables of the actions' environment.
    """

    platform: Platform
    platform_name: Literal["embedded", "openwhisk"]
    description: str
    capacity: Capacity
    store: RedisStore
    redis_url: str
    lasting_apihost: str | None = None
    insecure: bool = False
    lasting_redis: str | None = None
    patience_s: float = DEFAULT_PATIENCE_NETWORK_S
    examination: Examination = field(default_factory=Examination)
    action_env: tuple[tuple[str, str], ...] = ()

    def hurry(self) -> None:
        """Wait for none of them any more: the run has failed, or is to end."""
        self.platform.hurry()
        self.store.patience.hurry()


def warn_of_store(session: Session, needed_mb: int, emit: Listener) -> None:
    """Tell what a user should know of the store before a run that needs so much of it."""
    warning = session.examination.warning(session.store.address, needed_mb)
    if warning is not None:
        emit(Noted(message=warning))


def runs_here(settings: Settings) -> bool:
    """Whether actions run on the embedded platform, and not on an OpenWhisk that is configured."""
    return settings.access is None


@asynccontextmanager
async def open_session(settings: Settings, emit: Listener = silent) -> AsyncIterator[Session]:
    """The servers that `settings` name, or private ones; those that were started end with it.

    Args:
        settings: name them.
        emit: told when one of them fails for some time.

    Raises:
        ConnectionRefused: a named server does not answer, refuses the key, or cannot hold a run.
        PlatformLost, StoreLost: one answers, but that it cannot serve now.
    """

    def tell(sentence: str) -> None:
        emit(Noted(message=sentence))

    configured = settings.access
    running = find_running() if configured is None else None
    url = settings.redis
    async with AsyncExitStack() as stack:
        private = None
        if url is None:
            private = PrivateRedis(await _redis_address(configured))
            stack.push_async_callback(asyncio.to_thread, private.close)
        access = configured or running
        enforcement = ""
        if access is None:
            # In this thread: the platform ends with the thread that started it.
            embedded = start_embedded(EmbeddedOptions(limits=settings.platform_limits))
            stack.push_async_callback(asyncio.to_thread, embedded.close)
            access = embedded.access
            enforcement = f", memory enforced by {embedded.enforcement}"
        if private is not None:
            private.ready()
            url = private.url
        assert url is not None
        connect = partial(RedisStore, url, patience_s=settings.patience_network_s, tell=tell)
        store = await asyncio.to_thread(connect)
        stack.callback(store.close)
        platform = OpenWhisk(access, patience_s=settings.patience_network_s, tell=tell)
        stack.push_async_callback(platform.close)
        yield Session(
            platform=platform,
            platform_name="embedded" if configured is None else "openwhisk",
            description=_describe(access, configured) + enforcement,
            capacity=await platform.capacity(),
            store=store,
            redis_url=url,
            lasting_apihost=access.apihost if configured or running else None,
            insecure=access.insecure,
            lasting_redis=url if private is None else None,
            patience_s=settings.patience_network_s,
            examination=await asyncio.to_thread(store.examine),
            action_env=settings.action_variables,
        )


async def offered_capacity(settings: Settings) -> Capacity:
    """What the platform of `settings` would allow, without starting one.

    Raises:
        ConnectionRefused: the API host that is configured does not answer or refuses the key.
    """
    access = settings.access or find_running()
    if access is None:
        return embedded_capacity(EmbeddedOptions(limits=settings.platform_limits))
    platform = OpenWhisk(access, patience_s=settings.patience_network_s)
    try:
        return await platform.capacity()
    finally:
        await platform.close()


async def _redis_address(configured: ApiAccess | None) -> str:
    """The address of this machine where actions reach a private Redis.

    Raises:
        ConnectionRefused: there is none, or the API host that is configured does not answer.
    """
    if configured is None:
        return _LOOPBACK
    bridge = None
    if is_loopback(urlsplit(configured.apihost).hostname or ""):
        platform = OpenWhisk(configured)
        try:
            if (await platform.capacity()).on_loopback:
                return _LOOPBACK
        finally:
            await platform.close()
        bridge = bridge_address()
    if bridge is None:
        raise ConnectionRefused(
            f"actions at {configured.apihost} cannot reach a private Redis on this machine; name "
            "one that they reach with --redis URL"
        )
    return bridge


def _describe(access: ApiAccess, configured: ApiAccess | None) -> str:
    kind = "embedded platform" if configured is None else "OpenWhisk"
    return f"{kind} at {access.apihost}"
