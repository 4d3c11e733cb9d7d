"""The OpenWhisk that an API host and a key lead to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from disdel.connections.patience import Tell, tell_nobody
from disdel.connections.trust import is_loopback
from disdel.errors import UsageError
from disdel.platforms.base import Opened, Platform, Provider, Reach, Traits
from disdel.platforms.openwhisk.access import ApiAccess, access_of, access_to
from disdel.platforms.openwhisk.client import OpenWhisk
from disdel.platforms.openwhisk.limits import STOCK_PROXY_MB
from disdel.settings import Settings
from disdel.types import Capacity


class OpenWhiskProvider(Provider):
    name = "openwhisk"
    traits = Traits(proxy_mb=STOCK_PROXY_MB)

    @asynccontextmanager
    async def open(self, settings: Settings, tell: Tell = tell_nobody) -> AsyncIterator[Opened]:
        access = _named(settings)
        platform = OpenWhisk(access, patience_s=settings.patience_network_s, tell=tell)
        try:
            yield Opened(
                platform=platform,
                description=f"OpenWhisk at {access.apihost}",
                address=access.apihost,
                insecure=access.insecure,
            )
        finally:
            await platform.close()

    async def offered(self, settings: Settings) -> Capacity:
        platform = OpenWhisk(_named(settings), patience_s=settings.patience_network_s)
        try:
            return await platform.capacity()
        finally:
            await platform.close()

    def address(self, settings: Settings) -> str | None:
        return _named(settings).apihost

    def at(self, settings: Settings, *, address: str | None, key: str | None) -> Settings:
        if address is None or key is None:
            lacks = "address" if address is None else "key (key_env or key_file)"
            raise UsageError(f"an OpenWhisk is reached at an address with a key: it has no {lacks}")
        return replace(settings, apihost=address, auth=key)

    async def reach(self, settings: Settings) -> Reach:
        access = _named(settings)
        if not is_loopback(urlsplit(access.apihost).hostname or ""):
            return "nowhere"
        platform = OpenWhisk(access)
        try:
            return "loopback" if (await platform.capacity()).on_loopback else "bridge"
        finally:
            await platform.close()

    def find(self, address: str, settings: Settings, *, insecure: bool) -> Platform | None:
        access = access_to(address, settings.auth, insecure=insecure)
        return OpenWhisk(access, patience_s=settings.patience_network_s)


def _named(settings: Settings) -> ApiAccess:
    """The OpenWhisk that the user has named.

    Raises:
        UsageError: none is, its host is no URL, or limits are asked for that are another's.
    """
    access = access_of(settings)
    if access is None:
        raise UsageError(
            "no OpenWhisk is named: --apihost, DISDEL_APIHOST, or APIHOST in ~/.wskprops"
        )
    if settings.platform_limits is not None:
        raise UsageError(
            f"--limits {settings.platform_limits} is for the embedded platform, and the OpenWhisk "
            f"at {access.apihost} has limits of its own: leave it out, or say --memory-max and "
            "--timeout-max"
        )
    return access


PROVIDER = OpenWhiskProvider()
