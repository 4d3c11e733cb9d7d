"""Who is running: each platform keeps one file in the state directory while it lives.

The file holds the key, so only its owner may read it. It outlives a platform that is killed, and
names everything that such a platform leaves behind.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

# Clocks are adjusted; a process id is not used again within so short a time.
_CREATED_TOLERANCE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformRecord:
    """A running platform.

    `created` is the start of its process (seconds since the epoch), which together with `pid`
    names the process for good. `shared` platforms serve whoever finds them, others only the
    command that started them. `cgroup`, `folder` and `log` are paths to clean up.
    """

    id: str
    pid: int
    created: float
    apihost: str
    auth: str
    port: int
    enforcement: str
    limits: str
    user_memory_mb: int
    shared: bool
    cgroup: str | None
    folder: str
    log: str | None

    @property
    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            started = abs(process.create_time() - self.created) < _CREATED_TOLERANCE_S
            return started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def announcement(self) -> str:
        """What a starter needs to know, as one JSON line."""
        wanted = ("apihost", "auth", "pid", "port", "enforcement", "limits", "user_memory_mb")
        facts = asdict(self)
        return json.dumps({key: facts[key] for key in wanted}) + "\n"


def _folder(state_dir: Path) -> Path:
    return state_dir / "platforms"


def write_record(state_dir: Path, record: PlatformRecord) -> None:
    folder = _folder(state_dir)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{record.id}.new"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(record), file)
    partial.replace(folder / f"{record.id}.json")


def remove_record(state_dir: Path, record: PlatformRecord) -> None:
    (_folder(state_dir) / f"{record.id}.json").unlink(missing_ok=True)


def read_records(state_dir: Path) -> Iterator[PlatformRecord]:
    """The platforms recorded, dead or alive; files that are not records are passed over."""
    for path in sorted(_folder(state_dir).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            yield PlatformRecord(**json.loads(path.read_text()))
