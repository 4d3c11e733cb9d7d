"""Platforms for tests, held to leave nothing behind.

Each subclass of `Contracted` is a platform that `tests/contract/test_platform.py` asks what all
platforms promise.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from disdel.platforms.base import Platform, Provider
from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.platforms.executor.provider import ExecutorProvider
from disdel.platforms.http.provider import PROVIDER as HTTP
from disdel.platforms.lambda_.client import Lambda
from disdel.platforms.lambda_.options import LambdaOptions
from disdel.platforms.openwhisk.client import OpenWhisk as OpenWhiskClient
from disdel.settings import Settings
from tests.support import executors
from tests.support.environments import program_of, python_of
from tests.support.fake_platform import FakePlatform
from tests.support.functions import served
from tests.support.lambda_emulator import LambdaEmulator
from tests.support.openwhisk import OpenWhisk
from tests.support.process_platform.client import Processes
from tests.support.process_platform.limits import ProcessOptions, capacity
from tests.support.stub_lambda import ROLE

OWN_KIND = f"python:{sys.version_info.major}.{sys.version_info.minor}"


@contextlib.contextmanager
def embedded(folder: Path, **options: Any) -> Iterator[OpenWhisk]:
    with start_embedded(EmbeddedOptions(state_dir=folder, **options)) as platform:
        with OpenWhisk(platform.access, embedded=True) as user:
            yield user
            user.clean_up()
        platform.close()
        assert not any((folder / "platforms").iterdir()), "the platform has left something behind"


def lambda_emulator(**options: Any) -> LambdaEmulator:
    """AWS's emulator behind its API; the test skips where it cannot be had."""
    rie = program_of("lambda", "samcli/local/rapid/aws-lambda-rie-x86_64")
    return LambdaEmulator((rie, python_of("lambda")), **options)


Clients: TypeAlias = Callable[[], AbstractAsyncContextManager[Platform]]


@contextlib.asynccontextmanager
async def closed_at_the_end(platform: Platform) -> AsyncIterator[Platform]:
    try:
        yield platform
    finally:
        await platform.close()


@contextlib.asynccontextmanager
async def opened(provider: Provider, settings: Settings) -> AsyncIterator[Platform]:
    async with provider.open(settings) as found:
        yield found.platform


class Contracted(ABC):
    """A platform whose promises are tested.

    Attributes:
        name: of its tests.
        where: what its actions' containers are of, by `ActionSpec`'s names.
        has_containers: whether these are processes, which limits end.
        sends_compact: whether what it counts of arguments is JSON without a blank.
        all: those that there are.
    """

    name: ClassVar[str]
    where: ClassVar[dict[str, str]] = {"image": "disdel/runtime-base"}
    has_containers: ClassVar[bool] = True
    sends_compact: ClassVar[bool] = False
    all: ClassVar[list[type[Contracted]]] = []

    def __init_subclass__(cls) -> None:
        Contracted.all.append(cls)

    @abstractmethod
    def started(self) -> AbstractContextManager[Clients]:
        """What makes clients of it, one a test, while it runs; what they leave there is checked
        when the context ends.
        """


class Fake(Contracted):
    name = "fake"
    has_containers = False

    @contextlib.contextmanager
    def started(self) -> Iterator[Clients]:
        def handler(args: dict[str, object]) -> dict[str, object]:
            return {"error": "asked to fail"} if args.get("fail") else {"seen": args}

        yield lambda: closed_at_the_end(FakePlatform({"act": handler}))


class Embedded(Contracted):
    name = "embedded"
    sends_compact = True

    @contextlib.contextmanager
    def started(self) -> Iterator[Clients]:
        with (
            tempfile.TemporaryDirectory() as folder,
            embedded(Path(folder), user_memory_mb=1024) as user,
        ):
            yield lambda: closed_at_the_end(OpenWhiskClient(user.access))
            assert not user.get("/packages").json()


class ProcessesHere(Contracted):
    name = "processes"

    @contextlib.contextmanager
    def started(self) -> Iterator[Clients]:
        yield lambda: closed_at_the_end(Processes(capacity(ProcessOptions())))


class LambdaHere(Contracted):
    name = "lambda"
    where: ClassVar = {"kind": OWN_KIND}
    sends_compact = True

    @contextlib.contextmanager
    def started(self) -> Iterator[Clients]:
        with lambda_emulator() as emulator:
            options = LambdaOptions(role=ROLE, endpoint=emulator.url)
            yield lambda: closed_at_the_end(Lambda(options))
            assert not emulator.left()


class ExecutorHere(Contracted):
    """Threads, whose activations have processes of their own."""

    name = "executor"

    @contextlib.contextmanager
    def started(self) -> Iterator[Clients]:
        settings = Settings(platform_options=("memory_max=512",))
        yield lambda: opened(ExecutorProvider(executors.threads), settings)


class FunctionHere(Contracted):
    name = "http"

    @contextlib.contextmanager
    def started(self) -> Iterator[Clients]:
        with (
            tempfile.TemporaryDirectory() as folder,
            served("functions-framework", Path(folder)) as function,
        ):
            settings = Settings(platform_options=(f"url={function.url}", "payload_max=1"))
            yield lambda: opened(HTTP, settings)
            assert not function.children()
