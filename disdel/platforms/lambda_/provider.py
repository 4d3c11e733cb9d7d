"""How settings lead to AWS Lambda, or to what answers like it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from disdel.connections.patience import Tell, tell_nobody
from disdel.connections.trust import is_loopback
from disdel.platforms.base import Opened, Platform, Provider, Reach
from disdel.platforms.lambda_.client import Lambda
from disdel.platforms.lambda_.limits import PRICES, capacity
from disdel.platforms.lambda_.options import LambdaOptions
from disdel.platforms.options import own_options
from disdel.settings import Settings
from disdel.types import Capacity


class LambdaProvider(Provider):
    name = "lambda"
    prices = PRICES
    options = LambdaOptions

    @asynccontextmanager
    async def open(self, settings: Settings, tell: Tell = tell_nobody) -> AsyncIterator[Opened]:
        platform = _client(settings, tell)
        try:
            yield Opened(
                platform=platform,
                description=f"AWS Lambda at {platform.place}",
                address=platform.place,
            )
        finally:
            await platform.close()

    async def offered(self, settings: Settings) -> Capacity:
        return capacity(own_options(LambdaOptions, settings))

    def address(self, settings: Settings) -> str | None:
        return _client(settings).place

    async def reach(self, settings: Settings) -> Reach:
        endpoint = own_options(LambdaOptions, settings).endpoint
        on_loopback = endpoint and is_loopback(urlsplit(endpoint).hostname or "")
        return "loopback" if on_loopback else "nowhere"

    def find(
        self,
        address: str,  # noqa: ARG002 - the settings name the account, which no address does
        settings: Settings,
        *,
        insecure: bool,  # noqa: ARG002 - AWS's certificates are always checked
    ) -> Platform | None:
        return _client(settings)


def _client(settings: Settings, tell: Tell = tell_nobody) -> Lambda:
    options = own_options(LambdaOptions, settings)
    return Lambda(options, patience_s=settings.patience_network_s, tell=tell)


PROVIDER = LambdaProvider()
