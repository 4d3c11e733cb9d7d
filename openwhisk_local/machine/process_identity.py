"""Which process a record means, for as long as the record lies there.

A number names a process only for a while, on one kernel, and in one PID namespace. A folder may be
seen from several: a home on NFS, a volume mounted into containers, the same disk after a reboot.
So a record says where its process was to be seen, and whoever reads it elsewhere knows that it
cannot see it.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

# Without a start time in ticks: clocks are adjusted, and a number is not used again so soon.
_CREATED_TOLERANCE_S = 2.0
_STARTTIME_FIELD = 22


@dataclass(frozen=True, slots=True)
class View:
    """Where processes are seen from: equal where one number means one process."""

    host: str
    boot: str
    pid_namespace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One process for good.

    `created` is its start in seconds since the epoch; `start_ticks` is its start in the kernel's
    ticks since the boot, which no adjustment of a clock changes, where the kernel tells it.
    """

    view: View
    pid: int
    created: float
    start_ticks: int | None

    @property
    def seen_from_here(self) -> bool:
        """Whether this process could see it, were it alive."""
        ours = own_view()
        return (self.view.boot, self.view.pid_namespace) == (ours.boot, ours.pid_namespace)

    @property
    def on_this_kernel(self) -> bool:
        return self.view.boot == own_view().boot

    @property
    def before_this_boot(self) -> bool:
        """Whether it ran on this host, which has been started anew since."""
        ours = own_view()
        same_host, same_boot = self.view.host == ours.host, self.view.boot == ours.boot
        return same_host and not same_boot and self.created < psutil.boot_time()

    @property
    def alive(self) -> bool:
        """Whether it is seen to be alive; False also where it could not be seen."""
        if not self.seen_from_here:
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if self.start_ticks is not None:
                return _start_ticks(self.pid) == self.start_ticks
            return abs(process.create_time() - self.created) < _CREATED_TOLERANCE_S
        except (psutil.Error, OSError):
            return False

    @property
    def place(self) -> str:
        """Where it is, for a message."""
        return f"process {self.pid} on {self.view.host.partition(' ')[0]}"


def own_identity() -> ProcessIdentity:
    """What tells this process from all others, also after a reboot or in another container."""
    pid = os.getpid()
    return ProcessIdentity(
        view=own_view(),
        pid=pid,
        created=psutil.Process(pid).create_time(),
        start_ticks=_start_ticks(pid),
    )


@cache
def own_view() -> View:
    return View(f"{platform.node()} {_machine_id()}".strip(), _boot_id(), _pid_namespace())


def _machine_id() -> str:
    """Tells hosts of the same name apart, where it is there."""
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        if said.returncode == 0:
            return said.stdout.strip()
    return f"{platform.node()} {psutil.boot_time():.0f}"


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_ticks(pid: int) -> int | None:
    """Field 22 of `/proc/PID/stat`; None where there is no such file."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything, also parentheses and blanks.
    fields = text.rpartition(")")[2].split()
    return int(fields[_STARTTIME_FIELD - 3])
