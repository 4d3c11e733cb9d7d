"""How settings lead to the platform: it is of this process, and ends with the session."""

from contextlib import asynccontextmanager

from disdel.connections.patience import tell_nobody
from disdel.platforms.base import Opened, Provider, Traits
from disdel.platforms.options import own_options
from tests.support.process_platform.client import Processes
from tests.support.process_platform.limits import PRICES, ProcessOptions, capacity


class ProcessProvider(Provider):
    name = "processes"
    traits = Traits(host_packages=True)
    prices = PRICES
    options = ProcessOptions

    @asynccontextmanager
    async def open(self, settings, tell=tell_nobody):
        platform = Processes(capacity(own_options(ProcessOptions, settings)))
        try:
            yield Opened(platform=platform, description="processes of this machine")
        finally:
            await platform.close()

    async def offered(self, settings):
        return capacity(own_options(ProcessOptions, settings))


PROVIDER = ProcessProvider()
