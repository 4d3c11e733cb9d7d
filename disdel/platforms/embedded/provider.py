"""The OpenWhisk of this machine: the one that runs in the background, or one for the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from disdel.connections.patience import Tell, tell_nobody
from disdel.errors import UsageError
from disdel.platforms.base import Opened, Platform, Provider, Reach, Traits
from disdel.platforms.embedded.finding import find_running, platform_status
from disdel.platforms.embedded.launching import EmbeddedPlatform, begin_embedded
from disdel.platforms.embedded.limits import NAMES, check_sizes, embedded_capacity
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.platforms.openwhisk.access import ApiAccess
from disdel.platforms.openwhisk.client import OpenWhisk
from disdel.platforms.options import own_options
from disdel.settings import Settings
from disdel.types import Capacity


class EmbeddedProvider(Provider):
    name = "embedded"
    traits = Traits(host_packages=True)
    options = EmbeddedOptions

    @asynccontextmanager
    async def open(self, settings: Settings, tell: Tell = tell_nobody) -> AsyncIterator[Opened]:
        running = _running(settings)
        async with AsyncExitStack() as stack:
            if running is None:
                yield await _own(begin_embedded(_options(settings)), settings, tell, stack)
                return
            platform = _client(running, settings, tell)
            stack.push_async_callback(platform.close)
            yield Opened(
                platform=platform,
                description=f"embedded platform at {running.apihost}",
                address=running.apihost,
            )

    @contextmanager
    def ahead(self, settings: Settings, image: str | None = None) -> Iterator[Provider]:
        if _running(settings) is not None:
            yield self
            return
        with begin_embedded(_options(settings)) as begun:
            if image is not None:
                begun.expect(image)
            yield _Begun(begun)

    async def offered(self, settings: Settings) -> Capacity:
        running = _running(settings)
        if running is None:
            return embedded_capacity(_options(settings))
        platform = _client(running, settings)
        try:
            return await platform.capacity()
        finally:
            await platform.close()

    def address(self, settings: Settings) -> str | None:  # noqa: ARG002 - there is one
        return None

    async def reach(self, settings: Settings) -> Reach:  # noqa: ARG002 - of any
        return "loopback"

    def find(
        self,
        address: str,  # noqa: ARG002 - started again, with what it held, it may be at another port
        settings: Settings,
        *,
        insecure: bool,  # noqa: ARG002 - it has no certificate
    ) -> Platform | None:
        running = find_running()
        return None if running is None else _client(running, settings)


class _Begun(EmbeddedProvider):
    """With a platform that was begun for the one session that will open it."""

    def __init__(self, begun: EmbeddedPlatform) -> None:
        self._begun = begun

    def foreseen(self, settings: Settings) -> Capacity:
        return embedded_capacity(_options(settings))

    def expect(self, image: str) -> None:
        self._begun.expect(image)

    @asynccontextmanager
    async def open(self, settings: Settings, tell: Tell = tell_nobody) -> AsyncIterator[Opened]:
        async with AsyncExitStack() as stack:
            yield await _own(self._begun, settings, tell, stack)


class _OwnPlatform(OpenWhisk):
    """The client of a platform that is this process's own, and can be told what comes."""

    def __init__(self, begun: EmbeddedPlatform, settings: Settings, tell: Tell) -> None:
        super().__init__(
            begun.access, patience_s=settings.patience_network_s, tell=tell, names=NAMES
        )
        self._begun = begun

    def expect(self, image: str) -> None:
        self._begun.expect(image)

    def leave(self) -> None:
        self._begun.leave()


async def _own(
    begun: EmbeddedPlatform, settings: Settings, tell: Tell, stack: AsyncExitStack
) -> Opened:
    """A platform that this process has begun, once it is ready; it ends with `stack`."""
    stack.push_async_callback(asyncio.to_thread, begun.close)
    await asyncio.to_thread(begun.wait_until_ready)
    platform = _OwnPlatform(begun, settings, tell)
    stack.push_async_callback(platform.close)
    return Opened(
        platform=platform,
        description=f"embedded platform at {begun.access.apihost}, memory enforced by "
        f"{begun.enforcement}",
    )


def _running(settings: Settings) -> ApiAccess | None:
    """How to reach the platform that runs in the background, if there is one.

    Raises:
        UsageError: it runs with other limits than those asked for, or other options are.
    """
    running = platform_status()
    if running is None:
        return None
    asked = settings.platform_limits
    if asked not in (None, running.limits):
        raise UsageError(
            f"--limits {asked} is asked for, and the platform that runs at "
            f"{running.access.apihost} has the limits {running.limits}: leave --limits out to use "
            "it as it is, or stop it first with `disdel platform down`"
        )
    if settings.platform_options:
        raise UsageError(
            f"--platform-option {settings.platform_options[0]} is asked for, and the platform at "
            f"{running.access.apihost} runs already: give the option to `disdel platform up`, or "
            "stop that platform first with `disdel platform down`"
        )
    return running.access


def _options(settings: Settings) -> EmbeddedOptions:
    limits = settings.platform_limits
    options = own_options(EmbeddedOptions, settings, **({"limits": limits} if limits else {}))
    check_sizes(options)
    return options


def _client(access: ApiAccess, settings: Settings, tell: Tell = tell_nobody) -> OpenWhisk:
    return OpenWhisk(access, patience_s=settings.patience_network_s, tell=tell, names=NAMES)


PROVIDER = EmbeddedProvider()
