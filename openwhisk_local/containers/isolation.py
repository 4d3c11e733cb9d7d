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
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol

import psutil

from openwhisk_local.containers.cgroups import open_cgroups
from openwhisk_local.containers.orphans import (
    adopt_orphans,
    bury,
    kill_tree,
    session,
    strange_children,
)
from openwhisk_local.containers.pids import MAX_TASKS, count_tasks
from openwhisk_local.machine.container_memory import (
    LIMIT_ENV,
    LIMIT_FILE_ENV,
    process_tree,
    resident,
)

SAMPLE_INTERVAL_S = 0.05
CONTAINER_ENV = "DISDEL_CONTAINER"

_LOG = logging.getLogger(__name__)


class Cell(Protocol):
    """The memory limit of one container."""

    def env(self, home: Path) -> dict[str, str]:
        """What the container's environment needs for this.

        Args:
            home: where the container sees its folder.
        """

    @property
    def procs(self) -> tuple[Path, ...]:
        """The files that a process writes 0 into to enter the cell; its children are in it too."""

    def watch(self, pid: int, uncounted: Iterable[int] = ()) -> None:
        """Start enforcing on the process group led by `pid`, but for processes that are not the
        container's own.
        """

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
    """Limits by looking: a container above its limit at a sample is killed.

    Processes that lose their parent become children of this one. What of them is no container's is
    killed at once.
    """

    name = "sampling"
    folders: tuple[Path, ...] = ()

    def __init__(self) -> None:
        adopt_orphans()
        self._cells: dict[str, SamplingCell] = {}
        self._sampler: asyncio.Task[None] | None = None

    @property
    def task_limit(self) -> Literal["kernel", "sampling", "none"]:
        return "sampling" if _has_proc() else "none"

    def cell(self, container_id: str, limit_bytes: int, folder: Path) -> SamplingCell:
        """Where a container's memory is looked at from now on."""
        cell = SamplingCell(self, container_id, limit_bytes, folder)
        self._cells[container_id] = cell
        if self._sampler is None:
            self._sampler = asyncio.create_task(self._sample())
        return cell

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            self.look_for_orphans()
            for cell in [*self._cells.values()]:
                cell.sample()

    def look_for_orphans(self) -> None:
        """Find out whose they are."""
        leaders = {cell.pid: cell for cell in self._cells.values()}
        # One that has only just been started is no orphan, and may not show its environment yet.
        starting = None in leaders
        found = [pid for pid in strange_children() if pid not in leaders]
        for cell in self._cells.values():
            cell.orphans.intersection_update(found)
        for pid in found:
            # By its session, by its environment, or by what was seen of it before.
            owner = leaders.get(session(pid)) or self._cells.get(_mark(pid))
            if owner is not None:
                owner.orphans.add(pid)
            elif not (starting or any(pid in cell.orphans for cell in self._cells.values())):
                kill_tree(pid)
            bury(pid)

    def forget(self, container_id: str) -> None:
        """A container is gone, and what it has left is nobody's."""
        if self._cells.pop(container_id, None):
            self.look_for_orphans()

    def close(self) -> None:
        if self._sampler:
            self._sampler.cancel()
        self.look_for_orphans()
        adopt_orphans(adopt=False)


class SamplingCell:
    """Samples anonymous and shared memory; mapped file pages can be dropped and read again.

    `orphans` are those of its processes that have become the platform's children.
    """

    def __init__(
        self, enforcement: SamplingEnforcement, container_id: str, limit_bytes: int, folder: Path
    ) -> None:
        self.pid: int | None = None
        self.orphans: set[int] = set()
        self._uncounted: frozenset[int] = frozenset()
        self._enforcement = enforcement
        self._container_id = container_id
        self._limit_bytes = limit_bytes
        self._limit_file = folder / "memory-limit"
        self._oom_killed = False

    def env(self, home: Path) -> dict[str, str]:
        return {
            LIMIT_ENV: str(self._limit_bytes),
            LIMIT_FILE_ENV: str(home / self._limit_file.name),
            "DISDEL_ADOPT_ORPHANS": "1",
        }

    @property
    def procs(self) -> tuple[Path, ...]:
        return ()

    def watch(self, pid: int, uncounted: Iterable[int] = ()) -> None:
        self.pid = pid
        self._uncounted = frozenset(uncounted)

    def raise_limit(self, limit_bytes: int) -> None:
        """Allow more from now on, and tell the container, in one piece."""
        self._limit_bytes = limit_bytes
        partial = self._limit_file.with_suffix(".new")
        # An action may have put anything there.
        partial.unlink(missing_ok=True)
        with partial.open("x") as file:
            file.write(str(limit_bytes))
        partial.replace(self._limit_file)

    def sample(self) -> None:
        """Kill the container if it is above a limit."""
        if self.pid is None or self._oom_killed:
            return
        roots = (self.pid, *self.orphans)
        if sum(_used_bytes(pid, self._uncounted) for pid in roots) > self._limit_bytes:
            self._oom_killed = True
            self.kill()
        elif _has_proc() and sum(count_tasks(process_tree(pid)) for pid in roots) > MAX_TASKS:
            _LOG.warning(
                "container %s had more than %d processes and threads, and was ended",
                self._container_id,
                MAX_TASKS,
            )
            self.kill()

    def oom_killed(self) -> bool:
        return self._oom_killed

    def kill(self) -> None:
        """End the container's processes, those that have left its tree included."""
        if self.pid is not None:
            kill_tree(self.pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        for pid in self.orphans:
            kill_tree(pid)
        kill_marked(self._container_id)

    def remove(self) -> bool:
        self._enforcement.forget(self._container_id)
        return True


def _mark(pid: int) -> str:
    """The container that a process's environment names."""
    try:
        return psutil.Process(pid).environ().get(CONTAINER_ENV, "")
    except (psutil.Error, OSError):
        return ""


def _has_proc() -> bool:
    return Path("/proc/self/status").exists()


def _used_bytes(pid: int, uncounted: frozenset[int]) -> int:
    """The memory of a process and its descendants, but for the `uncounted`."""
    if _has_proc():
        use = resident(set(process_tree(pid)) - uncounted)
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
