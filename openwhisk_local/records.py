"""Who is running: each platform keeps one file in the state directory while it lives.

The file holds the key, so only its owner may read it. It outlives a platform that is killed, and
names everything that such a platform leaves behind. A platform holds a lock on its file while it
lives, by which it is known to live even where its process cannot be seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import dacite

from openwhisk_local.machine.process_identity import ProcessIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformRecord:
    """A running platform.

    `shared` platforms serve whoever finds them, others only the command that started them.
    `cgroups`, `folder` and `log` are paths to clean up. `namespaces` are those beside the first,
    with their keys.
    """

    id: str
    process: ProcessIdentity
    apihost: str
    auth: str
    port: int
    enforcement: str
    isolation: str
    limits: str
    user_memory_mb: int
    shared: bool
    cgroups: tuple[str, ...]
    folder: str
    log: str | None
    namespaces: dict[str, str] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether its process is seen to be alive."""
        return self.process.alive

    def announcement(self) -> str:
        """What a starter needs to know, as one JSON line."""
        wanted = (
            *("apihost", "auth", "port", "enforcement", "isolation", "limits"),
            *("user_memory_mb", "namespaces"),
        )
        facts = {key: getattr(self, key) for key in wanted}
        return json.dumps({**facts, "pid": self.pid}) + "\n"


def _folder(state_dir: Path) -> Path:
    return state_dir / "platforms"


def _path(state_dir: Path, record: PlatformRecord) -> Path:
    return _folder(state_dir) / f"{record.id}.json"


def write_record(state_dir: Path, record: PlatformRecord) -> int:
    """Write the record; the descriptor returned holds its lock until it is closed."""
    folder = _folder(state_dir)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = folder / f"{record.id}.new"
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    # Before anybody can find the file. Where the file system has no locks, nobody else asks.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        with os.fdopen(descriptor, "w", closefd=False) as file:
            json.dump(asdict(record), file)
        partial.replace(_path(state_dir, record))
    except BaseException:
        os.close(descriptor)
        partial.unlink(missing_ok=True)
        raise
    return descriptor


def remove_record(state_dir: Path, record: PlatformRecord) -> None:
    _path(state_dir, record).unlink(missing_ok=True)


def read_records(state_dir: Path) -> Iterator[PlatformRecord]:
    """The platforms recorded, dead or alive; files that are not records are passed over."""
    for path in sorted(_folder(state_dir).glob("*.json")):
        with contextlib.suppress(
            OSError, ValueError, TypeError, AttributeError, dacite.DaciteError
        ):
            facts = json.loads(path.read_text())
            yield dacite.from_dict(PlatformRecord, facts, dacite.Config(cast=[tuple]))


def is_dead(state_dir: Path, record: PlatformRecord) -> bool:
    """Whether the platform has ended beyond doubt, so that what it left may be removed.

    One that only cannot be seen from here is not: it belongs to another host, or to another PID
    namespace and holds its lock.
    """
    process = record.process
    if process.seen_from_here:
        return not process.alive
    if process.on_this_kernel or process.before_this_boot:
        return _is_unlocked(_path(state_dir, record))
    return False


def _is_unlocked(path: Path) -> bool:
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
