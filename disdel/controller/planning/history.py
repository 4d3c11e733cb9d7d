"""What containers took in earlier runs, kept from run to run.

One file of JSON lines for each runtime on each platform, in `history/` of the state directory. Many
runs may write at the same time: a line is one write to a file opened for appending, under a lock.
A file that has grown to `MAX_LINES` is cut to its newer half.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import dacite

import disdel
from disdel.host import environment
from disdel.host.home import make_own
from disdel.planner.observations import Observation
from disdel.platforms.registry import chosen
from disdel.runtimes.registry import all_runtimes
from disdel.runtimes.runtime import Runtime
from disdel.settings import Settings
from openwhisk_local.machine.gpu import first_gpu

MAX_LINES = 4000
# What is measured: all processes of a container, and not the action's alone.
_COUNTED = "containers"
# What else of this machine decides how much memory and time a container takes.
_PACKAGES = ("numpy", "redis")
# What /proc/cpuinfo says of a processor's kind, on x86 and on ARM.
_PROCESSOR = (
    *("cpu family", "model", "model name"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part"),
)


@dataclass(frozen=True, slots=True)
class History:
    """The observations of one runtime on one platform."""

    path: Path

    def read(self) -> tuple[Observation, ...]:
        """All of them, oldest first; lines that are not understood are left out."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ()
        return tuple(observation for line in lines if (observation := _parsed(line)) is not None)

    def append(self, observations: Sequence[Observation]) -> None:
        """Add observations.

        Raises:
            OSError: the file cannot be written.
        """
        if not observations:
            return
        added = "".join(json.dumps(asdict(observation)) + "\n" for observation in observations)
        make_own(self.path.parent)
        with self._locked():
            with self.path.open("a", encoding="utf-8") as file:
                file.write(added)
            self._cut()

    def _cut(self) -> None:
        lines = self.path.read_bytes().splitlines(keepends=True)
        if len(lines) > MAX_LINES:
            shorter = self.path.with_suffix(".new")
            shorter.write_bytes(b"".join(lines[-MAX_LINES // 2 :]))
            shorter.replace(self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among all writers; the lock is a file that `_cut` does not replace."""
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _parsed(line: str) -> Observation | None:
    try:
        return dacite.from_dict(Observation, json.loads(line))
    except (ValueError, TypeError, RecursionError, dacite.DaciteError):
        return None


def history_of(runtime: Runtime, settings: Settings) -> History:
    """The history of a runtime on the platform that `settings` lead to.

    It is named by a digest of what decides a container's memory: this release, and the platform
    and the image, or where actions have this machine's packages those and its processor; and the
    GPU that is planned with, if any.
    """
    provider = chosen(settings)
    on_host, address = provider.traits.host_packages, provider.address(settings)
    facts = [] if address is None else [address]
    if on_host:
        frameworks = [name for one in all_runtimes() for name in one.packages]
        facts += [platform.python_version(), processor_name(), str(os.cpu_count())]
        facts += [f"{name} {_version(name)}" for name in (*frameworks, *_PACKAGES)]
    else:
        facts.append(settings.image(runtime.image))
    asked = settings.limits.gpu_memory_mb
    # A GPU that is asked for and not there makes no difference to what is measured.
    planned = first_gpu() is not None and asked != 0 if on_host else bool(asked)
    if planned:
        facts.append("gpu")
    text = json.dumps([disdel.__version__, runtime.name, _COUNTED, *facts])
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return History(environment.state_dir() / "history" / f"{runtime.name}-{digest}.jsonl")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def processor_name() -> str:
    """The processor as the system calls it, and which kind it is: clouds give several one name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    # One paragraph a core; what is left out of it differs from core to core, or with the time.
    first = [line.partition(":") for line in text.partition("\n\n")[0].splitlines()]
    told = [value.strip() for name, _, value in first if name.strip() in _PROCESSOR]
    return " ".join(told) or platform.machine()
