"""What a run needs, checked one by one, each with what to do when it is missing."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from disdel import config
from disdel.controller.session import open_session
from disdel.controller.settings import Settings
from disdel.errors import DisdelError
from disdel.scheduler.runtimes import TENSORFLOW
from disdel.store.private_redis import find_redis_server


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `detail` says what was found or what to change."""

    name: str
    ok: bool
    detail: str


def run_checks(settings: Settings) -> Iterator[Check]:
    """Check the machine, then start or reach the servers of a run."""
    yield Check("python", True, sys.version.split()[0])
    yield _package("tensorflow", ("tensorflow", "tensorflow-cpu"), "disdel[tensorflow]")
    yield _package("data sets", ("tensorflow-datasets",), "disdel[datasets]")
    yield _checked("redis", lambda: _redis(settings))
    yield _checked("data directory", lambda: _writable(config.data_dir(settings.data_dir)))
    yield _checked("run directory", lambda: _writable(config.run_dir(settings.run_dir)))
    yield _checked("platform", lambda: asyncio.run(_platform(settings)))


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except DisdelError as error:
        return Check(name, False, str(error))


def _package(name: str, distributions: tuple[str, ...], extra: str) -> Check:
    for distribution in distributions:
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return Check(name, True, f"{distribution} {version}")
    return Check(
        name, False, f"not installed; the embedded platform needs it: pip install '{extra}'"
    )


def _redis(settings: Settings) -> str:
    if config.redis_url(settings.redis) is not None:
        return "configured; the platform check reaches it"
    return f"a private one for each run, {find_redis_server()}"


def _writable(folder: Path) -> str:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        raise DisdelError(f"{existing} is not writable; choose another folder")
    return str(folder)


async def _platform(settings: Settings) -> str:
    async with open_session(settings) as session:
        capacity = session.capacity
        needed = int(TENSORFLOW.floor_mb)
        if capacity.memory_max_mb < needed:
            raise DisdelError(
                f"{session.description} allows {capacity.memory_max_mb} MB an action, and "
                f"{TENSORFLOW.name} alone needs {needed} MB; raise whisk.memory.max (helm: "
                "whisk.limits.actions.memory.max)"
            )
        return (
            f"{session.description}; {capacity.memory_min_mb} to {capacity.memory_max_mb} MB and "
            f"up to {capacity.timeout_max_s:g} s an action"
        )
