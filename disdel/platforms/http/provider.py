"""The functions that addresses lead to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from disdel.connections.masking import masked
from disdel.connections.patience import Tell, tell_nobody
from disdel.connections.trust import is_loopback
from disdel.errors import ConnectionRefused, PlatformError, PlatformLost, UsageError
from disdel.platforms.base import Opened, Provider, Reach, Traits
from disdel.platforms.calls import UNKNOWN
from disdel.platforms.http.client import HttpFunction
from disdel.platforms.http.deployed import check_deployed
from disdel.platforms.http.limits import HttpOptions, capacity_of
from disdel.platforms.http.posting import Posting
from disdel.platforms.options import FLAG, own_options, refuse_limits
from disdel.platforms.parts import parts_of
from disdel.settings import Settings
from disdel.types import Capacity


class HttpProvider(Provider):
    name = "http"
    traits = Traits(has_packages=True)
    options = HttpOptions
    reads = frozenset({"insecure"})

    @asynccontextmanager
    async def open(self, settings: Settings, tell: Tell = tell_nobody) -> AsyncIterator[Opened]:
        options = _options(settings)
        async with AsyncExitStack() as stack:
            posting = Posting(options, insecure=settings.insecure)
            stack.push_async_callback(posting.close)
            asked = _client(options, posting, UNKNOWN, settings, tell)
            said = [await asked.hello(url) for url in options.urls]
            capacity = capacity_of(options, said)
            platform = _client(options, posting, capacity, settings, tell)
            stack.push_async_callback(platform.close)
            yield Opened(
                platform=platform,
                description=f"{len(options.urls)} function(s) at {masked(options.urls[0])}, "
                f"{capacity.concurrency} calls at once, each of at most "
                f"{capacity.timeout_max_s:g} s ({capacity.names.timeout})",
            )

    async def offered(self, settings: Settings) -> Capacity:
        try:
            return await super().offered(settings)
        except PlatformError as error:
            raise ConnectionRefused(str(error)) from error

    def at(self, settings: Settings, *, address: str | None, key: str | None) -> Settings:
        """`settings` that lead to a function at a URL.

        Its key is named by options of its own (key_env, key_file), which are read for each client.
        """
        del key
        return super().at(settings, address=address, key=None)

    async def deploy(self, settings: Settings, code: bytes) -> str:
        """See that functions are there that were exported from this version.

        Raises:
            PlatformError: there are others.
            ConnectionRefused: there are none.
        """
        options, parts = _options(settings), parts_of(code)
        async with AsyncExitStack() as stack:
            posting = Posting(options, insecure=settings.insecure)
            stack.push_async_callback(posting.close)
            asked = _client(options, posting, UNKNOWN, settings, tell_nobody)
            for url in options.urls:
                try:
                    said = await asked.hello(url)
                except PlatformLost as error:
                    raise ConnectionRefused(str(error)) from error
                except ConnectionRefused as error:
                    raise error.reworded(
                        f"{error}. What `disdel export` writes must be there, by the platform's "
                        "own tool; disdel does not deploy it"
                    ) from error
                check_deployed(url, parts, said)
        return "it has what this version of `disdel export` writes: nothing to deploy"

    def address(self, settings: Settings) -> str:
        return " ".join(masked(url) for url in _options(settings).urls)

    async def reach(self, settings: Settings) -> Reach:
        hosts = [httpx.URL(url).host for url in _options(settings).urls]
        return "loopback" if all(map(is_loopback, hosts)) else "nowhere"


def _options(settings: Settings) -> HttpOptions:
    refuse_limits(settings, "a function", f"{FLAG} memory_max, timeout_max or instances")
    options = own_options(HttpOptions, settings)
    if not options.urls:
        raise UsageError(f"no function is named: {FLAG} url=https://…, or DISDEL_HTTP_URL")
    return options


def _client(
    options: HttpOptions, posting: Posting, capacity: Capacity, settings: Settings, tell: Tell
) -> HttpFunction:
    return HttpFunction(
        posting,
        options.urls,
        capacity,
        start_s=options.start_s,
        patience_s=settings.patience_network_s,
        tell=tell,
    )


PROVIDER = HttpProvider()
