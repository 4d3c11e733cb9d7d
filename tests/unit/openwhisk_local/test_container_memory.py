from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openwhisk_local.machine import container_memory
from openwhisk_local.machine.container_memory import (
    CRITICAL_ENV,
    DEFAULT_CRITICAL_MB,
    LIMIT_ENV,
    LIMIT_FILE_ENV,
    STATE_ENV,
    Cgroup,
    MemoryMonitor,
    MemoryUse,
    critical_region_bytes,
    find_cgroup,
    own_cgroup,
    process_tree,
    read_memory,
    resident,
    tree_use,
    watch_memory,
)
from tests.support.waiting import wait_until

MIB = 1 << 20


def fake_proc(folder: Path, cgroup: str, mountinfo: str) -> Path:
    proc = folder / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(cgroup)
    (proc / "mountinfo").write_text(mountinfo)
    return proc


V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "35 31 0:32 {root} /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
V1_CPU = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
HYBRID = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "expected"),
    [
        pytest.param(
            "0::/\n", V2.format(root="/"), Cgroup(Path("/sys/fs/cgroup"), 2), id="v2-container"
        ),
        pytest.param(
            "0::/user.slice/a.scope\n",
            V2.format(root="/"),
            Cgroup(Path("/sys/fs/cgroup/user.slice/a.scope"), 2),
            id="v2-host",
        ),
        pytest.param(
            "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
            V1_CPU + V1.format(root="/docker/abc"),
            Cgroup(Path("/sys/fs/cgroup/memory"), 1),
            id="v1-container",
        ),
        pytest.param(
            "5:memory:/jobs/1\n0::/\n",
            V1_CPU + V1.format(root="/") + HYBRID,
            Cgroup(Path("/sys/fs/cgroup/memory/jobs/1"), 1),
            id="hybrid-prefers-v1",
        ),
        pytest.param(
            "0::/kubepods/pod1\n",
            V2.format(root="/other"),
            Cgroup(Path("/sys/fs/cgroup"), 2),
            id="path-outside-the-mount",
        ),
        pytest.param("3:cpu:/\n", V1_CPU, None, id="no-memory-hierarchy"),
    ],
)
def test_own_cgroup_joins_membership_and_mount(
    tmp_path: Path, cgroup: str, mountinfo: str, expected: Cgroup | None
) -> None:
    assert own_cgroup(fake_proc(tmp_path, cgroup, mountinfo)) == expected


def test_own_cgroup_without_proc(tmp_path: Path) -> None:
    assert own_cgroup(tmp_path / "absent") is None


def test_v2_counts_what_an_overrun_is_killed_for(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{300 * MIB}\n")
    (tmp_path / "memory.stat").write_text(
        "anon 1000\nfile 900000\nkernel 50\nshmem 300\nfile_mapped 200\n"
    )
    cgroup = Cgroup(tmp_path, 2)
    assert cgroup.limit_bytes() == 300 * MIB
    assert cgroup.used_bytes() == 1300


def test_v1_counts_the_whole_subtree(tmp_path: Path) -> None:
    (tmp_path / "memory.limit_in_bytes").write_text(f"{128 * MIB}\n")
    (tmp_path / "memory.stat").write_text(
        "cache 7\nrss 1\ntotal_cache 900000\ntotal_rss 1000\ntotal_shmem 10\ntotal_mapped_file 70\n"
    )
    cgroup = Cgroup(tmp_path, 1)
    assert cgroup.limit_bytes() == 128 * MIB
    assert cgroup.used_bytes() == 1070


@pytest.mark.parametrize(
    ("version", "name", "text"),
    [(2, "memory.max", "max\n"), (1, "memory.limit_in_bytes", "9223372036854771712\n")],
)
def test_no_limit(tmp_path: Path, version: int, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert Cgroup(tmp_path, version).limit_bytes() is None


@pytest.fixture
def plain_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cgroup limit and no proxy, wherever the tests themselves run."""
    monkeypatch.setattr(container_memory, "own_cgroup", lambda: None)
    monkeypatch.delenv(LIMIT_ENV, raising=False)
    monkeypatch.delenv(LIMIT_FILE_ENV, raising=False)
    monkeypatch.delenv(STATE_ENV, raising=False)


def test_an_unlimited_cgroup_is_not_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_process: None
) -> None:
    (tmp_path / "memory.max").write_text("max")
    monkeypatch.setattr(container_memory, "own_cgroup", lambda: Cgroup(tmp_path, 2))
    reading = read_memory(find_cgroup())
    assert reading.limit_bytes is None
    assert reading.used_bytes > MIB


def test_a_limited_cgroup_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_process: None
) -> None:
    (tmp_path / "memory.max").write_text("5000")
    (tmp_path / "memory.stat").write_text("anon 100\nshmem 0\nfile_mapped 20\n")
    monkeypatch.setattr(container_memory, "own_cgroup", lambda: Cgroup(tmp_path, 2))
    assert read_memory(find_cgroup()) == MemoryUse(used_bytes=120, peak_bytes=120, limit_bytes=5000)


def test_a_declared_limit_is_that_of_the_process_and_not_of_its_cgroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_process: None
) -> None:
    (tmp_path / "memory.max").write_text("5000")
    monkeypatch.setattr(container_memory, "own_cgroup", lambda: Cgroup(tmp_path, 2))
    monkeypatch.setenv(LIMIT_ENV, "77")
    assert find_cgroup() is None


def test_declared_limit(monkeypatch: pytest.MonkeyPatch, plain_process: None) -> None:
    monkeypatch.setenv(LIMIT_ENV, str(256 * MIB))
    assert read_memory(find_cgroup()).limit_bytes == 256 * MIB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_the_tree_includes_children() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(40 << 20); print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in process_tree(child.pid)
        assert tree_use(child.pid).anonymous_bytes > 40 * MIB
        assert child.pid in process_tree(container_memory.os.getpid())
        child.communicate(b"\n")
    assert tree_use(child.pid).anonymous_bytes == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_process_beside_the_action_belongs_to_its_container(tmp_path: Path) -> None:
    """As the proxy of OpenWhisk's stock image is, of which the action is the child."""
    (tmp_path / "memory.max").write_text(str(1 << 30))
    (tmp_path / "cgroup.procs").write_text(f"0\n{os.getpid()}\n")
    code = (
        "import sys, json, pathlib; from openwhisk_local.machine import container_memory as m; "
        "from disdel.worker import footprint as f; folder = pathlib.Path(sys.argv[1]); "
        "m.own_cgroup = lambda: m.Cgroup(folder, 2); "
        "procs = folder / 'cgroup.procs'; alone = f.working_set_bytes(); "
        "procs.write_text(f'0\\n{m.os.getpid()}\\n{sys.argv[2]}\\n'); "
        "print(json.dumps([alone, f.working_set_bytes(), m.container_processes(m.find_cgroup())]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(os.getpid())],
        capture_output=True,
        text=True,
        check=True,
    )
    alone, together, processes = json.loads(done.stdout)
    assert os.getpid() in processes
    assert len(processes) == 2
    assert together - alone >= resident([os.getpid()]).anonymous_bytes / 2


def test_the_monitor_remembers_the_peak(plain_process: None) -> None:
    with MemoryMonitor(interval_s=0.001) as monitor:
        before = monitor.use()
        block = bytearray(64 * MIB)
        wait_until(lambda: monitor.use().used_bytes >= before.used_bytes + 60 * MIB)
        del block
        wait_until(lambda: monitor.use().used_bytes < before.used_bytes + 10 * MIB)
    assert monitor.use().peak_bytes >= before.used_bytes + 60 * MIB


def test_the_thread_samples_into_the_state_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_process: None
) -> None:
    state = tmp_path / "memory.json"
    uses = iter(range(1, 10**18, MIB))
    monkeypatch.setattr(
        container_memory, "read_memory", lambda _: MemoryUse(number := next(uses), number, 10**18)
    )
    with MemoryMonitor(interval_s=0.001, state_path=state, critical_bytes=0):
        wait_until(lambda: json.loads(state.read_text())["used_bytes"] > 5 * MIB)
        monkeypatch.setenv(STATE_ENV, str(state))
        with watch_memory() as watched:
            assert watched.use().limit_bytes == 10**18
    last = json.loads(state.read_text())
    assert set(last) == {"used_bytes", "peak_bytes", "limit_bytes", "critical"}
    assert last["peak_bytes"] == last["used_bytes"]


def test_a_vanished_state_folder_does_not_end_the_monitor(
    tmp_path: Path, plain_process: None
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    monitor = MemoryMonitor(interval_s=0.001, state_path=folder / "memory.json")
    monitor.start()
    shutil.rmtree(folder)
    folder.mkdir()
    grown = bytearray(16 * MIB)
    wait_until((folder / "memory.json").exists)
    del grown
    monitor.stop()


@pytest.mark.parametrize(
    ("room_mb", "critical_mb", "pause_ms"),
    [
        (float("inf"), 24, 50),
        (144, 24, 50),
        (96, 24, 30),
        (48, 24, 10),
        (24, 24, 10),
        (-8, 24, 10),
        (100, 0, 50),
        (-8, 0, 10),
    ],
)
def test_samples_come_as_fast_as_the_limit_is_near(
    room_mb: float, critical_mb: int, pause_ms: float
) -> None:
    pause_s = container_memory._pause_s(room_mb * MIB, critical_mb * MIB, 0.05)
    assert pause_s * 1000 == pytest.approx(pause_ms)


@pytest.mark.parametrize(("version", "name"), [(1, "memory.usage_in_bytes"), (2, "memory.current")])
def test_a_cgroup_is_read_where_what_is_charged_to_it_has_changed(
    tmp_path: Path, version: int, name: str
) -> None:
    charged = tmp_path / name
    charged.write_text(f"{64 * MIB}\n")
    glance = container_memory._Glance(Cgroup(tmp_path, version), most_s=0.5)
    try:
        assert [glance.is_as_it_was(now_s) for now_s in (0.0, 0.1, 0.4, 0.5, 0.6)] == [
            *(False, True, True),
            *(False, True),
        ]
        charged.write_text(f"{64 * MIB + 4096}\n")
        assert glance.is_as_it_was(0.7)
        charged.write_text(f"{63 * MIB}\n")
        assert [glance.is_as_it_was(now_s) for now_s in (0.8, 0.9)] == [False, True]
        glance.forget()
        assert [glance.is_as_it_was(now_s) for now_s in (0.95, 1.0)] == [False, True]
    finally:
        glance.close()


def test_without_a_cgroup_memory_is_always_read(tmp_path: Path) -> None:
    for cgroup in (None, Cgroup(tmp_path / "gone", 1)):
        glance = container_memory._Glance(cgroup, most_s=1e9)
        assert not glance.is_as_it_was(0.0)
        assert not glance.is_as_it_was(0.1)
        glance.close()


class Readings:
    """Stands in for the kernel: what the next reading says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit_mb: int | None) -> None:
        self.used_mb, self.limit_mb = 0, limit_mb
        monkeypatch.setattr(container_memory, "read_memory", self.read)

    def read(self, cgroup: Cgroup | None) -> MemoryUse:
        used = self.used_mb * MIB
        return MemoryUse(used, used, None if self.limit_mb is None else self.limit_mb * MIB)


def test_critical_holds_until_the_limit_has_grown(
    monkeypatch: pytest.MonkeyPatch, plain_process: None
) -> None:
    readings = Readings(monkeypatch, limit_mb=256)
    warnings: list[MemoryUse] = []
    monitor = MemoryMonitor(critical_bytes=24 * MIB, on_critical=warnings.append)
    states = []
    for used_mb, limit_mb in (
        (232, 256),  # 24 MB left are enough
        (233, 256),  # inside
        (250, 256),  # still inside: no second warning
        (100, 256),  # use fell, and the limit is what it was
        (500, 512),  # the limit has grown, and use with it: a second warning
        (100, 512),
        (100, 768),  # outgrown
        (700, 768),
        (750, 768),  # and again
        (750, None),  # nothing limits it any more
    ):
        readings.used_mb, readings.limit_mb = used_mb, limit_mb
        states.append(monitor.use().critical)
    assert states == [False, True, True, True, True, True, False, False, True, False]
    assert [(w.used_bytes // MIB, (w.limit_bytes or 0) // MIB) for w in warnings] == [
        (233, 256),
        (500, 512),
        (750, 768),
    ]
    assert all(warning.critical for warning in warnings)
    assert monitor.warned


def test_without_a_limit_nothing_is_critical(
    monkeypatch: pytest.MonkeyPatch, plain_process: None
) -> None:
    readings = Readings(monkeypatch, limit_mb=None)
    readings.used_mb = 10**6
    monitor = MemoryMonitor()
    assert not monitor.use().critical
    assert not monitor.warned


def test_a_limit_file_is_read_for_every_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_process: None
) -> None:
    limit = tmp_path / "limit"
    limit.write_text("1000")
    monkeypatch.setenv(LIMIT_ENV, "77")
    monkeypatch.setenv(LIMIT_FILE_ENV, str(limit))
    monitor = MemoryMonitor()
    assert monitor.use().limit_bytes == 1000
    limit.write_text("2000\n")
    assert monitor.use().limit_bytes == 2000
    limit.unlink()
    assert monitor.use().limit_bytes == 77


@pytest.mark.parametrize(
    ("setting", "expected_mb"), [(None, DEFAULT_CRITICAL_MB), ("", 24), ("10", 10), ("0.5", 0.5)]
)
def test_the_size_of_the_critical_region(setting: str | None, expected_mb: float) -> None:
    environ = {} if setting is None else {CRITICAL_ENV: setting}
    assert critical_region_bytes(environ) == expected_mb * MIB


@pytest.mark.parametrize("setting", ["ten", "-1", "nan", "inf"])
def test_a_critical_region_of_no_size(setting: str) -> None:
    with pytest.raises(ValueError, match=rf"DISDEL_MEMORY_CRITICAL_MB is '{setting}' and must be"):
        critical_region_bytes({CRITICAL_ENV: setting})


def test_the_state_of_a_newer_monitor_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "memory.json"
    monkeypatch.setenv(STATE_ENV, str(state))
    with watch_memory() as watched:
        state.write_text('{"used_bytes": 1, "peak_bytes": 2, "limit_bytes": null, "more": 3}')
        assert watched.use() == MemoryUse(1, 2, None, critical=False)
        state.write_text('{"used_bytes": 1, "peak_bytes": 2, "limit_bytes": 3, "critical": true}')
        assert watched.use().critical


def test_watching_without_a_proxy_runs_an_own_monitor(plain_process: None) -> None:
    with watch_memory() as watched:
        assert isinstance(watched, MemoryMonitor)
        assert watched.use().used_bytes > 0


def test_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    shutil.copy(container_memory.__file__, tmp_path)
    code = (
        "import sys; sys.path.insert(0, '.'); import container_memory as m; "
        "print(m.read_memory(m.find_cgroup()).used_bytes > 0, "
        "any(k.startswith('disdel') for k in sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["True", "False"]


def test_mapped_files_count_only_where_the_kernel_counts_them(
    monkeypatch: pytest.MonkeyPatch, plain_process: None, tmp_path: Path
) -> None:
    size = 32 << 20
    path = tmp_path / "library"
    path.write_bytes(bytes(size))

    def growth() -> int:
        before = read_memory(None).used_bytes
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
            touched = pages[:: mmap.PAGESIZE]
            assert len(touched) == size // mmap.PAGESIZE
            return read_memory(None).used_bytes - before

    assert growth() > size // 2
    monkeypatch.setenv("DISDEL_MEMORY_LIMIT_BYTES", str(1 << 30))
    assert growth() < size // 2
