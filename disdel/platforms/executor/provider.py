"""The executor that settings, or a program, lead to; its actions run where its workers do."""

from __future__ import annotations

import json
import platform as machine
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from disdel.connections.patience import Tell, tell_nobody
from disdel.entry.executor_call import run
from disdel.errors import ConnectionRefused, PlatformError, UsageError
from disdel.platforms.base import Opened, Provider, Reach, Traits
from disdel.platforms.calls import HELLO
from disdel.platforms.executor.client import Executor, hello
from disdel.platforms.executor.limits import ExecutorOptions, capacity_of
from disdel.platforms.executor.source import Source
from disdel.platforms.options import FLAG, own_options, refuse_limits
from disdel.settings import Settings
from disdel.types import Capacity


class ExecutorProvider(Provider):
    """An executor; `given` is what a program gives, which comes before what settings name."""

    name = "executor"
    traits = Traits(host_packages=True)
    options = ExecutorOptions

    def __init__(self, given: Any = None) -> None:
        self._given = given

    @asynccontextmanager
    async def open(self, settings: Settings, tell: Tell = tell_nobody) -> AsyncIterator[Opened]:
        options = self._options(settings)
        source = self._source(options)
        try:
            capacity, said = await asked(source, options)
            if capacity.cpus is None:
                tell("workers on other machines: their CPUs are taken to be like those here")
            platform = Executor(
                source,
                capacity,
                start_s=options.start_s,
                patience_s=settings.patience_network_s,
                tell=tell,
            )
            try:
                yield Opened(
                    platform=platform,
                    description=f"{source.called}, {capacity.concurrency} calls at once, memory "
                    f"enforced by {said['enforcement']}",
                )
            finally:
                await platform.close()
        finally:
            source.close()

    async def offered(self, settings: Settings) -> Capacity:
        options = self._options(settings)
        source = self._source(options)
        try:
            return (await asked(source, options))[0]
        except PlatformError as error:
            raise ConnectionRefused(str(error)) from error
        finally:
            source.close()

    def address(self, settings: Settings) -> str:
        if self._given is not None:
            return f"executor:{type(self._given).__name__}"
        return f"executor:{self._options(settings).executor}"

    async def reach(self, settings: Settings) -> Reach:
        options = self._options(settings)
        source = self._source(options)
        try:
            return "loopback" if (await asked(source, options))[0].on_loopback else "nowhere"
        except PlatformError as error:
            raise ConnectionRefused(str(error)) from error
        finally:
            source.close()

    def _options(self, settings: Settings) -> ExecutorOptions:
        refuse_limits(settings, "an executor", f"{FLAG} memory_max, timeout_max or workers")
        return own_options(ExecutorOptions, settings)

    def _source(self, options: ExecutorOptions) -> Source:
        if self._given is not None:
            return Source.of(self._given)
        if options.executor is None:
            raise UsageError(
                "no executor is named: --platform-option executor=FILE.py:FUNCTION, or in Python "
                "on=EXECUTOR"
            )
        return Source.named(options.executor)


async def asked(source: Source, options: ExecutorOptions) -> tuple[Capacity, Mapping[str, Any]]:
    """What an executor allows, and what one of its workers says of itself.

    Raises:
        PlatformError: no worker answers, or one whose Python or disdel is another.
    """
    said = await hello(source, options.start_s)
    own = json.loads(run(json.dumps(HELLO)))
    here = (f"{sys.version_info.major}.{sys.version_info.minor}", machine.machine().lower())
    there = (said["python"], said["machine"])
    if here != there:
        raise PlatformError(
            f"a worker of {source.called} is Python {there[0]} on {there[1]}, and this is Python "
            f"{here[0]} on {here[1]}: actions use packages of the same versions, so start its "
            "workers with the same Python, or disdel with theirs"
        )
    return capacity_of(options, source.called, source.workers(), said, own["host"]), said


def provider_on(given: Any) -> ExecutorProvider:
    """The provider of an executor that a program gives, or of a function that makes one.

    Raises:
        UsageError: it is neither.
    """
    Source.of(given)
    return ExecutorProvider(given)


PROVIDER = ExecutorProvider()
