"""Limits enforced by the kernel: one memory cgroup for each container, which also counts processes.

The platform makes one folder for itself, inside the cgroup that it was started in or beside it,
and one folder in that for each container. Which place works is found out by moving a real process
there: write permission, delegation and the rule that a v2 cgroup with processes cannot hand
controllers to children all show only then.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from openwhisk_local.containers.pids import limit_tasks, open_hierarchy
from openwhisk_local.machine.container_memory import Cgroup, own_cgroup

_PROBE_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class CgroupCell:
    """The cgroup of one container; `tasks` is the one that limits its processes, where that is
    another.
    """

    cgroup: Cgroup
    tasks: Path | None = None

    def env(self, home: Path) -> dict[str, str]:  # noqa: ARG002
        return {}

    @property
    def procs(self) -> tuple[Path, ...]:
        folders = (self.cgroup.folder, *([self.tasks] if self.tasks else []))
        return tuple(folder / "cgroup.procs" for folder in folders)

    def watch(self, pid: int, uncounted: Iterable[int] = ()) -> None:
        """The kernel watches."""

    def raise_limit(self, limit_bytes: int) -> None:
        raise_limit(self.cgroup, limit_bytes)

    def oom_killed(self) -> bool:
        """Whether the kernel has killed a process of this container for memory."""
        name = "memory.events" if self.cgroup.version == 2 else "memory.oom_control"
        try:
            lines = (self.cgroup.folder / name).read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)

    def kill(self) -> None:
        kill_members(self.cgroup.folder)

    def remove(self) -> bool:
        """Remove the cgroups; False while a killed process is still on its way out."""
        return remove_folder(self.cgroup.folder) and (
            self.tasks is None or remove_folder(self.tasks)
        )


def enter(procs: Iterable[Path]) -> str:
    """What a shell executes to enter cgroups by these files, without one more process."""
    return " && ".join(f"echo 0 > {shlex.quote(str(path))}" for path in procs) or "true"


@dataclass(frozen=True, slots=True)
class CgroupEnforcement:
    """Makes cells below `base`, the platform's own folder.

    `tasks` is its folder in v1's hierarchy for processes; under v2 that is `base` too, if
    `counts_tasks`.
    """

    base: Cgroup
    tasks: Path | None = None
    counts_tasks: bool = False

    @property
    def task_limit(self) -> Literal["kernel", "sampling", "none"]:
        return "kernel" if self.tasks or self.counts_tasks else "none"

    @property
    def name(self) -> str:
        return f"cgroup v{self.base.version}"

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.base.folder, *([self.tasks] if self.tasks else []))

    def cell(self, container_id: str, limit_bytes: int, folder: Path) -> CgroupCell:  # noqa: ARG002
        """A new cgroup with that limit and no swap.

        Raises:
            OSError: the kernel refuses.
        """
        cgroup = Cgroup(self.base.folder / container_id, self.base.version)
        cgroup.folder.mkdir()
        set_limit(cgroup, limit_bytes)
        limit_tasks(cgroup.folder)
        if self.tasks is None:
            return CgroupCell(cgroup)
        tasks = self.tasks / container_id
        tasks.mkdir()
        limit_tasks(tasks)
        return CgroupCell(cgroup, tasks)

    def close(self) -> None:
        for folder in self.folders:
            remove_tree(folder)


def set_limit(cgroup: Cgroup, limit_bytes: int) -> None:
    """Limit a cgroup's memory, without swap where the kernel accounts for swap."""
    if cgroup.version == 2:
        (cgroup.folder / "memory.max").write_text(str(limit_bytes))
        swap, swap_bytes = cgroup.folder / "memory.swap.max", 0
        # Docker's and Kubernetes' containers die as a whole, not one process of them.
        group = cgroup.folder / "memory.oom.group"
        if group.exists():
            group.write_text("1")
    else:
        (cgroup.folder / "memory.limit_in_bytes").write_text(str(limit_bytes))
        # v1 limits memory and swap together.
        swap, swap_bytes = cgroup.folder / "memory.memsw.limit_in_bytes", limit_bytes
    if swap.exists():
        swap.write_text(str(swap_bytes))


def raise_limit(cgroup: Cgroup, limit_bytes: int) -> None:
    """Raise the limit that `set_limit` has made.

    v1 never lets the limit on memory be above that on memory and swap, which so has to go first.
    """
    swap = cgroup.folder / "memory.memsw.limit_in_bytes"
    if cgroup.version == 1 and swap.exists():
        swap.write_text(str(limit_bytes))
    name = "memory.max" if cgroup.version == 2 else "memory.limit_in_bytes"
    (cgroup.folder / name).write_text(str(limit_bytes))


def open_cgroups(platform_id: str, own: Cgroup | None = None) -> CgroupEnforcement | None:
    """Kernel enforcement for a platform, or None where no place for its cgroups works.

    Args:
        platform_id: names the folder.
        own: the cgroup to look around, by default the one of this process.
    """
    own = own or own_cgroup()
    if own is None:
        return None
    for place in places(own):
        base = Cgroup(place / f"disdel-{platform_id}", own.version)
        try:
            base.folder.mkdir()
        except OSError:
            continue
        enforcement = CgroupEnforcement(base)
        with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
            if base.version == 2:
                (base.folder / "cgroup.subtree_control").write_text("+memory")
                _hand_out_pids(base.folder)
            if _probe(enforcement):
                tasks = open_hierarchy(platform_id)
                return replace(enforcement, tasks=tasks, counts_tasks=_counts_tasks(base.folder))
        enforcement.close()
    return None


def places(own: Cgroup) -> Iterator[Path]:
    """Folders that may hold the platform's cgroup, best first.

    Inside the own cgroup every limit on the platform holds for its containers too. Under v2 that
    works only where the own cgroup may hand out the memory controller; else its parent often can
    (systemd gives a user's sessions such a parent), which is fair only if the own cgroup has no
    limit that the containers would escape.
    """
    if own.version == 1 or _hands_out_memory(own.folder):
        yield own.folder
    with contextlib.suppress(OSError, ValueError):
        if own.version == 2 and own.limit_bytes() is None and _hands_out_memory(own.folder.parent):
            yield own.folder.parent


def _hands_out_memory(folder: Path) -> bool:
    control = folder / "cgroup.subtree_control"
    with contextlib.suppress(OSError):
        if "memory" not in control.read_text().split():
            control.write_text("+memory")
        _hand_out_pids(folder)
        return True
    return False


def _counts_tasks(folder: Path) -> bool:
    """Whether the cgroups below `folder` can limit processes."""
    try:
        return "pids" in (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _hand_out_pids(folder: Path) -> None:
    """Hand out the controller that limits processes, where this cgroup has it."""
    with contextlib.suppress(OSError):
        if "pids" in (folder / "cgroup.controllers").read_text().split():
            (folder / "cgroup.subtree_control").write_text("+pids")


def _probe(enforcement: CgroupEnforcement) -> bool:
    """Whether a process can be moved into a limited cell, and sees its limit there."""
    limit_bytes = 64 << 20
    cell = enforcement.cell("probe", limit_bytes, enforcement.base.folder)
    try:
        moved = subprocess.run(
            ["/bin/sh", "-c", f"{enter(cell.procs)} && exec /bin/cat /proc/self/cgroup"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROBE_DEADLINE_S,
        )
        inside = f"{enforcement.base.folder.name}/probe" in moved.stdout
        return moved.returncode == 0 and inside and cell.cgroup.limit_bytes() == limit_bytes
    finally:
        remove_tree(cell.cgroup.folder)


def members(folder: Path) -> list[int]:
    """The processes of a cgroup that this one can see."""
    try:
        pids = [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []
    # What is in no PID namespace of ours is listed as 0, which to kill(2) means the caller's group.
    return [pid for pid in pids if pid != 0]


def kill_members(folder: Path) -> None:
    """Kill every process of a cgroup; those it forks meanwhile need another call."""
    for pid in members(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def remove_folder(folder: Path) -> bool:
    """Kill what is left in a cgroup and remove it; False if that must be tried again."""
    kill_members(folder)
    try:
        folder.rmdir()
    except OSError as error:
        return error.errno != errno.EBUSY
    return True


def remove_tree(folder: Path, deadline_s: float = 5.0) -> None:
    """Kill what runs in a platform's cgroups and remove them, waiting for the dying."""
    end = time.monotonic() + deadline_s
    for cgroup in [*(child for child in _children(folder)), folder]:
        while not remove_folder(cgroup) and time.monotonic() < end:
            time.sleep(0.005)


def _children(folder: Path) -> list[Path]:
    try:
        return [child for child in folder.iterdir() if child.is_dir()]
    except OSError:
        return []
