"""Namespaces of its own for every container, where the machine lets the platform make them.

In a container's PID namespace no process of another container exists, and none of its own outlives
its first one, whatever it forks, forgets or calls itself. In its mount namespace `/dev/shm` is its
own and goes with it, the action proxy cannot be changed, and its own folder lies where every
container's does, so that those of the others are out of reach. The network is the machine's:
actions talk to Redis and to the platform over loopback.

util-linux makes them. A process of its `unshare` stays outside and ends with the platform; a shell
is the first process inside, and buries whatever loses its parent there. The mounts are the proxy's
to make: each process that a start has to wait for costs milliseconds on a busy machine.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from openwhisk_local.containers.cgroups import enter
from openwhisk_local.containers.container_mounts import (
    BIND,
    MOUNTS_ENV,
    NO_DEVICES,
    NO_PROGRAMS,
    NO_SUID,
    PRIVATE,
    READ_ONLY,
    RECURSIVE,
    REMOUNT,
    Mounts,
)
from openwhisk_local.machine.container_memory import process_tree

OPEN_FILES = 1024

_PROBE_DEADLINE_S = 10.0
_MARK = "mark"
_SHM = Path("/dev/shm")
_LIMITED = f'ulimit -n {OPEN_FILES} && exec "$@"'
# Both end with whoever started them.
_UNSHARE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child")
_MOUNTS = ("--mount", "--")
# A user without privileges has them in a user namespace, for as long as the mounts take.
_AS_USER = ("--user", "--map-current-user", "--keep-caps")


class Isolation(Protocol):
    """How far containers are kept apart, beyond the limits on memory and processes."""

    @property
    def name(self) -> str:
        """As the start-up line and the platform's information say it."""

    def env(self, folder: Path, memory_mb: int) -> Mapping[str, str]:
        """What the environment of a container with that folder and limit needs for this."""

    def home(self, folder: Path) -> Path:
        """Where a container sees `folder`, which is its own."""

    def entering(self, command: list[str], procs: Iterable[Path] = ()) -> list[str]:
        """The command that executes `command` in a container, as the leader of a process group.

        It enters the cgroups with these files first. Before `command` does anything else, it is to
        call `container_mounts.enter`.
        """

    @property
    def unshared(self) -> tuple[str, ...]:
        """What a container that is forked has to unshare, see `container_forks`; empty where none
        can be.
        """

    def kill(self, pid: int) -> None:
        """Kill the container whose command runs as `pid`."""


@dataclass(frozen=True, slots=True)
class ProcessGroups:
    """No namespaces: what leaves the group is left to those who enforce the limits."""

    name: str = "process groups"
    unshared: tuple[str, ...] = ()

    def env(self, folder: Path, memory_mb: int) -> Mapping[str, str]:  # noqa: ARG002
        return {"DISDEL_PARENT_PID": str(os.getpid())}

    def home(self, folder: Path) -> Path:
        return folder

    def entering(self, command: list[str], procs: Iterable[Path] = ()) -> list[str]:
        return ["/bin/sh", "-c", f"{enter(procs)} && {_LIMITED}", "sh", *command]

    def kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Namespaces:
    """PID and mount namespaces.

    Args:
        containers: the folder with the folders of all containers, in whose place a container sees
            its own.
        proxy: the folder that a container may only read.
        as_user: whether the platform's user has to make a user namespace first.
    """

    containers: Path
    proxy: Path
    as_user: bool
    name: str = "PID and mount namespaces"

    def env(self, folder: Path, memory_mb: int) -> Mapping[str, str]:
        """The variables that say what to mount, shared memory of `memory_mb` included."""
        proxy, home = str(self.proxy), str(self.containers)
        mounts = [
            ("none", "/", "", RECURSIVE | PRIVATE, ""),
            ("proc", "/proc", "proc", NO_SUID | NO_DEVICES | NO_PROGRAMS, ""),
            (proxy, proxy, "", BIND, ""),
            ("", proxy, "", REMOUNT | BIND | READ_ONLY | _flags(self.proxy), ""),
            (str(folder), home, "", BIND, ""),
        ]
        if _SHM.is_dir():
            # Who enforces limits by looking does not see files that nobody maps.
            options = f"mode=1777,size={memory_mb}m"
            mounts.append(("disdel", str(_SHM), "tmpfs", NO_SUID | NO_DEVICES, options))
        return {
            # The shell.
            "DISDEL_PARENT_PID": "1",
            MOUNTS_ENV: Mounts(mounts, home, drops_capabilities=self.as_user).to_json(),
        }

    @property
    def unshared(self) -> tuple[str, ...]:
        return ("pid", "mount", *(("user",) if self.as_user else ()))

    def home(self, folder: Path) -> Path:  # noqa: ARG002
        return self.containers

    def entering(self, command: list[str], procs: Iterable[Path] = ()) -> list[str]:
        """The command line that runs `command` in these cgroups and namespaces of its own."""
        # The first process waits for the command, and for what loses its parent meanwhile.
        first = f"({enter(procs)} && {_LIMITED}); exit $?"
        return [
            *_UNSHARE,
            *(_AS_USER if self.as_user else ()),
            *_MOUNTS,
            *("/bin/sh", "-c", first, "sh"),
            *command,
        ]

    def kill(self, pid: int) -> None:
        # `unshare` ends once everything inside has ended, which does so with the first process.
        for member in process_tree(pid)[1:] or [pid]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGKILL)


def _flags(folder: Path) -> int:
    """The flags of the file system around `folder`, which a user namespace cannot take away."""
    flags = {os.ST_NOSUID: NO_SUID, os.ST_NODEV: NO_DEVICES, os.ST_NOEXEC: NO_PROGRAMS}
    given = os.statvfs(folder).f_flag
    return sum(ours for theirs, ours in flags.items() if given & theirs)


def open_isolation(containers: Path, proxy: Path) -> Isolation:
    """The strictest isolation that works here.

    Args:
        containers: an empty folder for the containers' folders.
        proxy: the folder with the action proxy and the mounts' program.
    """
    if sys.platform == "linux":
        for as_user in (False, True):
            namespaces = Namespaces(containers, proxy, as_user)
            if _works(namespaces):
                return namespaces
    return ProcessGroups()


def _works(namespaces: Namespaces) -> bool:
    """Whether a process in them is one of few, and sees its folder in its place."""
    probe = namespaces.containers / "probe"
    probe.mkdir()
    mount = [sys.executable, "-I", "-S", str(namespaces.proxy / "container_mounts.py")]
    script = f"test $$ -lt 10 && test {_MARK} -ef {shlex.quote(str(probe.parent))}/{_MARK}"
    try:
        (probe / _MARK).touch()
        inside = subprocess.run(
            namespaces.entering([*mount, "/bin/sh", "-c", script]),
            cwd=probe,
            env={"PATH": os.environ.get("PATH", os.defpath), **namespaces.env(probe, 1)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_PROBE_DEADLINE_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        shutil.rmtree(probe)
    return inside.returncode == 0
