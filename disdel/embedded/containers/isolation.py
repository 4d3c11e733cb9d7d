"""Which of the ways to enforce memory limits this machine allows, and the last of them: sampling.

A container gets a cell: something that limits the memory of its processes, knows whether that
killed them, and can kill all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import Literal, Protocol

import psutil

from disdel.container_memory import LIMIT_ENV, LIMIT_FILE_ENV, process_tree, tree_use
from disdel.embedded.containers.cgroups import open_cgroups
from disdel.embedded.containers.pids import MAX_TASKS, count_tasks

SAMPLE_INTERVAL_S = 0.05
CONTAINER_ENV = "DISDEL_CONTAINER"

_LOG = logging.getLogger(__name__)


class Cell(Protocol):
    """The memory limit of one container."""

    @property
    def env(self) -> dict[str, str]:
        """What the container's environment needs for this."""

    def entering(self, command: list[str]) -> list[str]:
        """The command that enters the cell and then executes `command`."""

    def watch(self, pid: int) -> None:
        """Start enforcing on the process group led by `pid`."""

    def raise_limit(self, limit_bytes: int) -> None:
        """Enforce a higher limit from now on; raises `OSError` where that is refused."""

    def oom_killed(self) -> bool:
        """Whether the limit has killed a process."""

    def kill(self) -> None:
        """Kill every process in the cell."""

    def remove(self) -> bool:
        """Free what the cell holds; False if that must be tried again."""


class Enforcement(Protocol):
    """A way to limit memory."""

    @property
    def name(self) -> str:
        """As the start-up line and the platform's information say it."""

    @property
    def task_limit(self) -> Literal["kernel", "sampling", "none"]:
        """Who holds a container to its number of processes and threads."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """The cgroups to remove should the platform be killed."""

    def cell(self, container_id: str, limit_bytes: int, folder: Path) -> Cell:
        """A cell for a new container with a folder; raises `OSError` where it cannot be made."""

    def close(self) -> None: ...


def open_enforcement(platform_id: str, *, only_sampling: bool = False) -> Enforcement:
    """The strictest enforcement that works here."""
    cgroups = None if only_sampling else open_cgroups(platform_id)
    return cgroups or SamplingEnforcement()


class SamplingEnforcement:
    """Limits by looking: a container above its limit at a sample is killed."""

    name = "sampling"
    folders: tuple[Path, ...] = ()

    @property
    def task_limit(self) -> Literal["kernel", "sampling", "none"]:
        return "sampling" if _has_proc() else "none"

    def cell(self, container_id: str, limit_bytes: int, folder: Path) -> SamplingCell:
        return SamplingCell(container_id, limit_bytes, folder)

    def close(self) -> None:
        """Nothing is held."""


class SamplingCell:
    """Samples anonymous and shared memory; mapped file pages can be dropped and read again."""

    def __init__(self, container_id: str, limit_bytes: int, folder: Path) -> None:
        self._container_id = container_id
        self._limit_bytes = limit_bytes
        self._limit_file = folder / "memory-limit"
        self._pid: int | None = None
        self._oom_killed = False
        self._sampler: asyncio.Task[None] | None = None

    @property
    def env(self) -> dict[str, str]:
        return {
            LIMIT_ENV: str(self._limit_bytes),
            LIMIT_FILE_ENV: str(self._limit_file),
        }

    def entering(self, command: list[str]) -> list[str]:
        return command

    def watch(self, pid: int) -> None:
        self._pid = pid
        self._sampler = asyncio.create_task(self._sample(pid))

    def raise_limit(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        partial = self._limit_file.with_suffix(".new")
        partial.write_text(str(limit_bytes))
        partial.replace(self._limit_file)

    async def _sample(self, pid: int) -> None:
        while not self._oom_killed:
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            if _used_bytes(pid) > self._limit_bytes:
                self._oom_killed = True
                self.kill()
            elif _has_proc() and count_tasks(process_tree(pid)) > MAX_TASKS:
                _LOG.warning(
                    "container %s had more than %d processes and threads, and was ended",
                    self._container_id,
                    MAX_TASKS,
                )
                self.kill()

    def oom_killed(self) -> bool:
        return self._oom_killed

    def kill(self) -> None:
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
        kill_marked(self._container_id)

    def remove(self) -> bool:
        if self._sampler:
            self._sampler.cancel()
        return True


def _has_proc() -> bool:
    return Path("/proc/self/status").exists()


def _used_bytes(pid: int) -> int:
    if _has_proc():
        use = tree_use(pid)
        return use.anonymous_bytes + use.shared_bytes
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
        return sum(member.memory_info().rss for member in family)
    except psutil.Error:
        return 0


def kill_marked(owner: str) -> None:
    """Kill the processes whose environment names `owner`: a container, or a platform of several.

    Finds those that left their container's process group, and those of a platform that was killed.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            container = process.environ().get(CONTAINER_ENV, "")
            if container == owner or container.startswith(f"{owner}-"):
                process.kill()
