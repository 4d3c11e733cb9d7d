"""Raises the memory limit of a container that is about to reach it.

The monitor inside of a container writes its readings into a file, see `machine.container_memory`.
While an activation runs, that file is looked at, and when it says that memory is critical at the
current limit, the limit grows by a step: up to a ceiling, and only by memory that no container of
the pool has been promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from openwhisk_local.containers.pool import Grow
from openwhisk_local.units import MIB

STEP_MB = 256
INTERVAL_S = 0.02
# Files are stamped by a clock that is up to a tick of the kernel behind.
_TICK_NS = 10_000_000
_MAX_READING_BYTES = 4096

_LOG = logging.getLogger(__name__)


class Growing(Protocol):
    """A container whose limit can be raised."""

    @property
    def memory_mb(self) -> int:
        """The current limit."""

    @property
    def readings(self) -> Path:
        """The file with the latest reading, once there is one."""

    def grow_to(self, memory_mb: int) -> None:
        """Raise the limit; raises `OSError` where the kernel refuses."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How far limits grow; `ceiling_mb` 0 means that they do not."""

    ceiling_mb: int

    @contextlib.asynccontextmanager
    async def watching(self, container: Growing, grow: Grow) -> AsyncIterator[None]:
        """Let the container grow while the block runs.

        Args:
            container: the container, whose activation begins now.
            grow: asks the pool for so many MB more.
        """
        if not self.ceiling_mb:
            yield
            return
        watcher = asyncio.create_task(self._watch(container, grow))
        try:
            yield
        finally:
            watcher.cancel()
            [ended] = await asyncio.gather(watcher, return_exceptions=True)
            if isinstance(ended, Exception):
                _LOG.warning("a container did not grow: %s", ended)

    async def _watch(self, container: Growing, grow: Grow) -> None:
        begun_ns = time.time_ns()
        while container.memory_mb < self.ceiling_mb:
            await asyncio.sleep(INTERVAL_S)
            limit_mb = container.memory_mb
            if not _is_critical(container.readings, limit_mb, begun_ns):
                continue
            more_mb = min(STEP_MB, self.ceiling_mb - limit_mb)
            if grow(more_mb):
                container.grow_to(limit_mb + more_mb)


def _is_critical(readings: Path, limit_mb: int, since_ns: int) -> bool:
    """Whether a reading of this activation says so, at this limit and not at a former one."""
    try:
        # The file is in the action's reach, which may have put anything in its place.
        with open(readings, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_mtime_ns + _TICK_NS < since_ns:
                return False
            reading = json.loads(file.read(_MAX_READING_BYTES))
        return reading["critical"] is True and reading["limit_bytes"] == limit_mb * MIB
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
