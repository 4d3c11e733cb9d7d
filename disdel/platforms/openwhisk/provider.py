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
from disdel.platforms.openwhisk.limits import HOSTED, STOCK_PROXY_MB
from disdel.platforms.options import refuse_limits
from disdel.settings import Settings
from disdel.types import Capacity


class OpenWhiskProvider(Provider):
    name = "openwhisk"
    traits = Traits(proxy_mb=STOCK_PROXY_MB)
    reads = frozenset({"apihost", "auth", "insecure"})

    @asynccontextmanager
    async def open(self, settings: Settings, tell: Tell = tell_nobody) -> AsyncIterator[Opened]:
        access = _named(settings)
        platform = _client(settings, tell)
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
        platform = _client(settings)
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
    if settings.platform_limits not in HOSTED:
        where = f"the OpenWhisk at {access.apihost}"
        refuse_limits(settings, where, "--memory-max and --timeout-max")
    return access


def _client(settings: Settings, tell: Tell = tell_nobody) -> OpenWhisk:
    return OpenWhisk(
        _named(settings),
        patience_s=settings.patience_network_s,
        tell=tell,
        hosted=settings.platform_limits,
    )


PROVIDER = OpenWhiskProvider()
