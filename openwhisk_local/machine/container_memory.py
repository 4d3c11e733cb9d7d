"""How much of its memory limit this container uses, seen from inside.

"Memory that counts" is what an overrun is killed for: anonymous memory, mapped file pages and
shared memory, but not the page cache, which the kernel drops first. All sizes are bytes.

Where it is read from, in order:

1. the process and its descendants, from `/proc` (else `getrusage`), where whoever enforces a limit
   by looking at them declares it: in the file that `DISDEL_MEMORY_LIMIT_FILE` names, or in
   `DISDEL_MEMORY_LIMIT_BYTES`. Mapped file pages do not count then, as they are not enforced: from
   outside of the kernel nobody can tell which of them are this container's alone;
2. the process's own memory cgroup (v2, else v1), if that cgroup has a limit of its own. A cgroup
   without one is shared with strangers as likely as not, so its numbers say nothing;
3. the process and its descendants, without a limit.

A limit in a cgroup or in a file may be raised while the process runs: it is read again for every
sample.

A process is in the **critical region** when less than `DISDEL_MEMORY_CRITICAL_MB` of its limit is
left. The default of 24 MB is what Python allocates between two of the monitor's samples where they
come fastest: 10 ms at the 2.4 GB/s measured for `bytearray`, `bytes.join` and numpy's generators.
Only filling huge pages is faster (5.6 GB/s); building lists takes a third of it.

Standard library only: the action proxy imports this file as a top-level module.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

LIMIT_ENV = "DISDEL_MEMORY_LIMIT_BYTES"
LIMIT_FILE_ENV = "DISDEL_MEMORY_LIMIT_FILE"
CRITICAL_ENV = "DISDEL_MEMORY_CRITICAL_MB"
STATE_ENV = "__OW_MEMORY_STATE"
DEFAULT_INTERVAL_S = 0.05
DEFAULT_CRITICAL_MB = 24
# How many times as fast as usual samples come at most.
_FASTEST = 5

# What readers of the state file do not miss.
_TOLD_BYTES = 1 << 20

# v1 reports "no limit" as the largest page-aligned signed 64-bit number.
_UNLIMITED_BYTES = 1 << 60


# How such a line in an activation's log begins.
CRITICAL_TEXT = "disdel: memory is critical"


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """One reading.

    used_bytes: memory that counts, now. peak_bytes: the largest `used_bytes` that the reader has
    seen, equal to it for a single reading. limit_bytes: None where nothing limits the process.
    critical: the critical region was entered, and the limit has not grown out of it since; False
    for a single reading.
    """

    used_bytes: int
    peak_bytes: int
    limit_bytes: int | None
    critical: bool = False


class UsesMemory(Protocol):
    """Something that can tell the latest reading."""

    def use(self) -> MemoryUse: ...


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A memory cgroup: its folder and the version (1 or 2) of its files."""

    folder: Path
    version: int

    def limit_bytes(self) -> int | None:
        """The cgroup's own limit, None when it has none.

        Raises:
            OSError: the cgroup has no memory controller.
        """
        name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        text = (self.folder / name).read_text().strip()
        return None if text == "max" or int(text) >= _UNLIMITED_BYTES else int(text)

    def used_bytes(self) -> int:
        """Memory that counts, of this cgroup and those below it.

        Mapped shared memory is in both the mapped and the shared count; taking the larger of the
        two counts it once.
        """
        fields = _fields(self.folder / "memory.stat")
        if self.version == 2:
            return fields["anon"] + max(fields["file_mapped"], fields["shmem"])
        return fields["total_rss"] + max(fields["total_mapped_file"], fields.get("total_shmem", 0))


def own_cgroup(proc: Path = Path("/proc/self"), controller: str = "memory") -> Cgroup | None:
    """The cgroup with `controller` that the process of `proc` is in, None if it cannot be seen.

    `/proc/<pid>/cgroup` names it relative to the hierarchy, the mount table says which part of the
    hierarchy is mounted where. A path outside the mounted part means that the mount is the
    container's own root, as under Docker without a cgroup namespace.
    """
    try:
        memberships = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return None
    found: dict[int, Cgroup] = {}
    for membership in memberships:
        _, controllers, path = membership.split(":", 2)
        version = 1 if controller in controllers.split(",") else 2 if controllers == "" else 0
        if version and (mount := _cgroup_mount(mounts, version, controller)):
            root, mount_point = mount
            inside = path == root or path.startswith(root.rstrip("/") + "/")
            below = os.path.relpath(path, root) if inside else "."
            found[version] = Cgroup(mount_point / below, version)
    # A hybrid machine mounts both, and its v2 side lacks what v1 has.
    return found.get(1) or found.get(2)


def _cgroup_mount(mounts: list[str], version: int, controller: str) -> tuple[str, Path] | None:
    for line in mounts:
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, mount_point = before.split(" ")[3:5]
        if version == 2 and kind == "cgroup2":
            return root, Path(mount_point)
        if version == 1 and kind == "cgroup" and controller in options.split(","):
            return root, Path(mount_point)
    return None


def _fields(path: Path) -> dict[str, int]:
    """The `name number` lines of a statistics file."""
    fields = {}
    for line in path.read_text().splitlines():
        name, _, number = line.partition(" ")
        fields[name] = int(number)
    return fields


@dataclass(frozen=True, slots=True)
class TreeUse:
    """Resident memory of some processes, by what backs it."""

    anonymous_bytes: int
    file_bytes: int
    shared_bytes: int


def process_tree(pid: int) -> list[int]:
    """`pid` and its living descendants."""
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        found.append(parent)
        for thread in Path(f"/proc/{parent}/task").glob("*"):
            with contextlib.suppress(OSError):
                todo += [int(child) for child in (thread / "children").read_text().split()]
    return found


def container_processes(cgroup: Cgroup | None) -> list[int]:
    """The living processes that the limit of this process's container holds.

    All of its cgroup, where that can be seen: OpenWhisk's stock images run their proxy in a process
    beside the action. Elsewhere this process and its descendants, of which a proxy of ours is the
    first.

    Args:
        cgroup: what `find_cgroup` has found.
    """
    if cgroup is not None:
        with contextlib.suppress(OSError, ValueError):
            listed = {
                int(line)
                for procs in cgroup.folder.rglob("cgroup.procs")
                for line in procs.read_text().split()
            }
            # A process of another PID namespace is listed as 0.
            if os.getpid() in listed:
                return sorted(listed - {0})
    return process_tree(os.getpid())


def tree_use(pid: int) -> TreeUse:
    """Resident memory of `pid` and its descendants; zero for those that ended meanwhile."""
    return resident(process_tree(pid))


def resident(pids: Iterable[int]) -> TreeUse:
    """Resident memory of these processes; zero for those that ended meanwhile."""
    totals = {"RssAnon": 0, "RssFile": 0, "RssShmem": 0}
    for member in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{member}/status").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in totals:
                    totals[name] += int(rest.split()[0]) * 1024
    return TreeUse(totals["RssAnon"], totals["RssFile"], totals["RssShmem"])


def _declared_limit(environ: Mapping[str, str] = os.environ) -> int | None:
    with contextlib.suppress(OSError, KeyError, ValueError):
        return int(Path(environ[LIMIT_FILE_ENV]).read_text())
    declared = environ.get(LIMIT_ENV)
    return int(declared) if declared else None


def find_cgroup() -> Cgroup | None:
    """The cgroup that says how much memory this process may use; None where others say it."""
    cgroup = own_cgroup() if _declared_limit() is None else None
    try:
        return cgroup if cgroup and cgroup.limit_bytes() is not None else None
    except (OSError, ValueError):
        return None


def read_memory(cgroup: Cgroup | None) -> MemoryUse:
    """What this process's container, or this process with its descendants, uses now.

    Args:
        cgroup: what `find_cgroup` has found.
    """
    if cgroup:
        used = cgroup.used_bytes()
        return MemoryUse(used, used, cgroup.limit_bytes())
    limit = _declared_limit()
    if Path("/proc/self/status").exists():
        tree = tree_use(os.getpid())
        used = tree.anonymous_bytes + tree.shared_bytes
        if limit is None:
            used += tree.file_bytes
    else:
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        used = resident if sys.platform == "darwin" else resident * 1024
    return MemoryUse(used, used, limit)


def critical_line(use: MemoryUse, critical_bytes: int) -> str:
    """What an activation's log says when the critical region is entered."""
    limit_mb = (use.limit_bytes or 0) >> 20
    return (
        f"{CRITICAL_TEXT}: {use.used_bytes >> 20} of {limit_mb} MB are in use, less "
        f"than {critical_bytes / (1 << 20):g} MB are left\n"
    )


def critical_region_bytes(environ: Mapping[str, str] = os.environ) -> int:
    """The size of the critical region that the environment asks for.

    Raises:
        ValueError: the setting is not a number of MB, 0 or more.
    """
    text = environ.get(CRITICAL_ENV) or str(DEFAULT_CRITICAL_MB)
    try:
        size_bytes = round(float(text) * (1 << 20))
    except (ValueError, OverflowError):
        size_bytes = -1
    if size_bytes < 0:
        raise ValueError(f"{CRITICAL_ENV} is {text!r} and must be a number of MB, 0 or more")
    return size_bytes


class MemoryMonitor:
    """Samples memory in a thread between `start` and `stop`, or while used as a context.

    Args:
        interval_s: time between two samples; a peak shorter than that may be missed. Near the
            limit, samples come up to five times as fast (see `_pause_s`).
        state_path: a file that holds the latest reading as one JSON line, replaced atomically, for
            readers in other modules or processes. It is at most `interval_s` behind, where sizes
            differ by a MB or more, and never where the limit or `critical` changes. It is left
            behind at the end, exact.
        critical_bytes: the size of the critical region, by default what the environment says.
        on_critical: called with the reading, outside of any lock, when the critical region is
            entered, and again when it is entered, or still occupied, at a limit that has changed.
    """

    def __init__(
        self,
        interval_s: float = DEFAULT_INTERVAL_S,
        state_path: Path | None = None,
        *,
        critical_bytes: int | None = None,
        on_critical: Callable[[MemoryUse], None] | None = None,
    ) -> None:
        self._interval_s = interval_s
        self._state_path = state_path
        self._critical_bytes = critical_region_bytes() if critical_bytes is None else critical_bytes
        self._on_critical = on_critical
        self._cgroup = find_cgroup()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._latest: MemoryUse | None = None
        self._written: MemoryUse | None = None
        self._written_s = 0.0
        self._warned_limit: int | None = None
        self._thread = threading.Thread(target=self._watch, name="memory-monitor", daemon=True)

    @property
    def warned(self) -> bool:
        """Whether the critical region was entered at any time so far."""
        return self._warned_limit is not None

    def start(self) -> None:
        self.use()
        self._thread.start()

    def stop(self) -> MemoryUse:
        """Take a last sample and end the thread."""
        self._stopping.set()
        self._thread.join()
        return self.use()

    def use(self) -> MemoryUse:
        """A fresh reading, with the peak of all samples so far."""
        with self._lock:
            now = read_memory(self._cgroup)
            before = self._latest
            inside = self._room_bytes(now) < self._critical_bytes
            warns = inside and now.limit_bytes != self._warned_limit
            if warns:
                self._warned_limit = now.limit_bytes
            # At the same limit it stays critical even if use falls: an action that looks only now
            # and then must not miss it.
            held = before is not None and before.critical and not self._outgrown(now)
            reading = replace(
                now,
                peak_bytes=max(now.used_bytes, before.peak_bytes if before else 0),
                critical=inside or held,
            )
            self._latest = reading
            self._publish(reading)
        if warns and self._on_critical:
            self._on_critical(reading)
        return reading

    def _outgrown(self, now: MemoryUse) -> bool:
        """Whether the limit is above the one that the last warning was about."""
        return now.limit_bytes is None or now.limit_bytes > (self._warned_limit or 0)

    def _publish(self, reading: MemoryUse) -> None:
        """Bring the state file up to date if it is due; the caller holds the lock."""
        if self._state_path is None or reading == self._written:
            return
        written, now_s = self._written, time.monotonic()
        turned = written is None or (written.critical, written.limit_bytes) != (
            reading.critical,
            reading.limit_bytes,
        )
        # A file takes ten times as long as the reading.
        is_due = now_s - self._written_s >= self._interval_s and _apart(reading, written)
        if turned or is_due or self._stopping.is_set():
            # A full disk or a vanished folder must not cost the activation.
            with contextlib.suppress(OSError):
                _write_state(self._state_path, reading)
                self._written, self._written_s = reading, now_s

    @staticmethod
    def _room_bytes(reading: MemoryUse) -> float:
        if reading.limit_bytes is None:
            return float("inf")
        return reading.limit_bytes - reading.used_bytes

    def _watch(self) -> None:
        pause_s, glance = self._interval_s, _Glance(self._cgroup, 10 * self._interval_s)
        while not self._stopping.wait(pause_s):
            # A reading can fail while the machine is short of everything; the next may not.
            with contextlib.suppress(OSError):
                if glance.is_as_it_was(time.monotonic()):
                    continue
                room_bytes = self._room_bytes(self.use())
                pause_s = _pause_s(room_bytes, self._critical_bytes, self._interval_s)
                if pause_s < self._interval_s:
                    glance.forget()
        glance.close()

    def __enter__(self) -> MemoryMonitor:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _pause_s(room_bytes: float, critical_bytes: int, interval_s: float) -> float:
    """From a sample that finds so much room to the next one.

    The critical region is what is allocated in the shortest pause, so whoever goes on at that speed
    has just come to it by then. A sample takes a training step's time from its caches, too.
    """
    if room_bytes >= (1 + _FASTEST) * critical_bytes:
        return interval_s
    shortest_s = interval_s / _FASTEST
    if room_bytes <= 2 * critical_bytes:
        return shortest_s
    return shortest_s * (room_bytes - critical_bytes) / critical_bytes


class _Glance:
    """Whether a cgroup's memory may have changed since it was read; it takes a tenth of a reading.

    All that is charged to it is one number, page cache included. Where that is what it was, so is
    what counts, but for page cache that has made room: so now and then it is read all the same.

    Args:
        cgroup: whose; without one it may always have changed.
        most_s: after so long it is read in any case.
    """

    def __init__(self, cgroup: Cgroup | None, most_s: float) -> None:
        self._most_s = most_s
        self._file: int | None = None
        self._charged: int | None = None
        self._due_s = 0.0
        if cgroup is not None:
            name = "memory.current" if cgroup.version == 2 else "memory.usage_in_bytes"
            with contextlib.suppress(OSError):
                self._file = os.open(cgroup.folder / name, os.O_RDONLY)

    def is_as_it_was(self, now_s: float) -> bool:
        """Whether memory need not be read; else it is read now.

        Raises:
            OSError: the cgroup cannot be seen any more.
        """
        if self._file is None:
            return False
        charged, before = int(os.pread(self._file, 32, 0)), self._charged
        if before is not None and abs(charged - before) < _TOLD_BYTES and now_s < self._due_s:
            return True
        self._charged, self._due_s = charged, now_s + self._most_s
        return False

    def forget(self) -> None:
        """Have it read next time, whatever it is then."""
        self._charged = None

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)


def _apart(reading: MemoryUse, written: MemoryUse | None) -> bool:
    """Whether two readings differ by what is worth telling."""
    if written is None:
        return True
    grown = reading.peak_bytes - written.peak_bytes
    return max(grown, abs(reading.used_bytes - written.used_bytes)) >= _TOLD_BYTES


def _write_state(path: Path, reading: MemoryUse) -> None:
    partial = path.with_name(path.name + ".new")
    partial.write_text(json.dumps(asdict(reading)) + "\n")
    partial.replace(path)


@dataclass(frozen=True, slots=True)
class _StateFile:
    """The readings of the monitor that runs in the action proxy."""

    path: Path

    def use(self) -> MemoryUse:
        try:
            state = json.loads(self.path.read_text())
        except OSError:
            return read_memory(find_cgroup())
        # The proxy belongs to the image and may be newer than this file in the action's bundle.
        known = [field.name for field in fields(MemoryUse)]
        return MemoryUse(**{name: state[name] for name in known if name in state})


@contextlib.contextmanager
def watch_memory() -> Iterator[UsesMemory]:
    """Memory readings for action code: the proxy's where a proxy runs it, else its own."""
    state = os.environ.get(STATE_ENV)
    if state:
        yield _StateFile(Path(state))
    else:
        # Where the container ends without a word, the log has said why.
        critical_bytes = critical_region_bytes()
        with MemoryMonitor(
            critical_bytes=critical_bytes,
            on_critical=lambda use: print(  # noqa: T201 - the activation's log
                critical_line(use, critical_bytes), end="", file=sys.stderr, flush=True
            ),
        ) as monitor:
            yield monitor
