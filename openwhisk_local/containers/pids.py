"""How many processes and threads a container may have: as many as OpenWhisk gives its own.

The kernel counts them where the platform may make a cgroup with the controller for that: under
v2 in the container's own cgroup, under v1 in a hierarchy of its own. A limit on the processes of a
user (`RLIMIT_NPROC`) would be no replacement: it does not hold for root, and counts whatever else
the user runs. Elsewhere the platform counts now and then, and ends a container that has more; a
fork bomb can outrun that.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

from openwhisk_local.machine.container_memory import own_cgroup

MAX_TASKS = 1024
_LIMIT_FILE = "pids.max"


def limit_tasks(folder: Path) -> bool:
    """Limit a cgroup; False where it lacks the controller."""
    limit = folder / _LIMIT_FILE
    if not limit.exists():
        return False
    try:
        limit.write_text(str(MAX_TASKS))
    except OSError:
        return False
    return True


def open_hierarchy(platform_id: str) -> Path | None:
    """The platform's folder in v1's own hierarchy for this, or None where none can be used."""
    own = own_cgroup(controller="pids")
    if own is None or own.version != 1:
        return None
    folder = own.folder / f"disdel-{platform_id}"
    try:
        folder.mkdir()
        if _probe(folder):
            return folder
        folder.rmdir()
    except OSError:
        with contextlib.suppress(OSError):
            folder.rmdir()
    return None


def _probe(folder: Path) -> bool:
    """Whether a process can be moved into a limited cgroup below `folder`."""
    cell = folder / "probe"
    cell.mkdir()
    try:
        script = f'echo $$ > "$0" && cat "$(dirname "$0")/{_LIMIT_FILE}"'
        moved = subprocess.run(
            ["/bin/sh", "-c", script, str(cell / "cgroup.procs")],
            capture_output=True,
            text=True,
            check=False,
        )
        return limit_tasks(cell) and moved.returncode == 0
    finally:
        cell.rmdir()


def count_tasks(pids: Iterable[int]) -> int:
    """The threads of these processes; those that ended meanwhile have none."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    return total
