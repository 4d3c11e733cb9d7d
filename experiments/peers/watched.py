"""Run a command and watch the memory of everything that it starts."""

import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.1
# Of one CPU, for looking: the kernel walks every page table, and what is watched must not wait.
LARGEST_SHARE = 0.05
_MARK = "PEERS_RUN"


@dataclass(frozen=True)
class Watched:
    """A finished command.

    Attributes:
        returncode: its exit status.
        stdout: what it printed.
        stderr: what it said.
        wall_s: seconds from its start to its end.
        peak_pss_mb: the largest sum of proportional set sizes (shared pages are divided among who
            shares them) of all processes that it started, itself included.
        samples: how often that was looked at.
        watching_cpu_s: CPU time that the looking took on the same machine.
    """

    returncode: int
    stdout: str
    stderr: str
    wall_s: float
    peak_pss_mb: float
    samples: int
    watching_cpu_s: float


def run_watched(command, environ, *, cwd=None):
    """Run `command` to its end.

    Processes count that descend from it or carry its mark in their environment, so that servers
    that leave their parent are seen too. They are ended with it when the run is interrupted.
    """
    mark = f"{_MARK}={uuid.uuid4().hex}"
    name, value = mark.split("=")
    began_s = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**environ, name: value},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = _Watch(process.pid, mark.encode())
    watch.start()
    try:
        stdout, stderr = process.communicate()
        wall_s = time.perf_counter() - began_s
    finally:
        watch.stop()
        if process.poll() is None:
            watch.end_all()
            process.wait()
    return Watched(
        process.returncode,
        stdout,
        stderr,
        wall_s,
        watch.peak_kib / 1024,
        watch.samples,
        watch.cpu_s,
    )


class _Watch(threading.Thread):
    def __init__(self, root, mark):
        super().__init__(daemon=True)
        self.root, self.mark = root, mark
        self.members, self.strangers = {root}, set()
        self.peak_kib, self.samples, self.cpu_s = 0, 0, 0.0
        self.ended = threading.Event()

    def run(self):
        pause_s = INTERVAL_S
        while not self.ended.wait(pause_s):
            before_s = time.thread_time()
            self.peak_kib = max(self.peak_kib, self.total_kib())
            self.samples += 1
            self.cpu_s = time.thread_time()
            pause_s = max(INTERVAL_S, (self.cpu_s - before_s) / LARGEST_SHARE)

    def stop(self):
        self.ended.set()
        self.join()

    def end_all(self):
        for pid in self.members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)

    def total_kib(self):
        """The sum now."""
        alive = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        self.members &= alive
        self.strangers &= alive
        # Parents first: a child is known by its parent even before it has its own environment.
        for pid in sorted(alive - self.members - self.strangers):
            if _parent(pid) in self.members or self.mark in _environ(pid):
                self.members.add(pid)
            else:
                self.strangers.add(pid)
        return sum(_pss_kib(pid) for pid in self.members)


def _parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _environ(pid):
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _pss_kib(pid):
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
