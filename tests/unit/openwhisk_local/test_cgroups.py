from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from openwhisk_local.containers.cgroups import (
    CgroupEnforcement,
    enter,
    members,
    open_cgroups,
    places,
    raise_limit,
    set_limit,
)
from openwhisk_local.machine.container_memory import Cgroup


def cgroup_v2(folder: Path, *, controllers: str = "", limit: str = "max") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.subtree_control").write_text(controllers)
    (folder / "memory.max").write_text(limit)
    return folder


def test_v2_prefers_the_own_cgroup(tmp_path: Path) -> None:
    own = cgroup_v2(tmp_path / "slice" / "own", controllers="cpu memory")
    cgroup_v2(own.parent, controllers="memory")
    assert list(places(Cgroup(own, 2))) == [own, own.parent]


def test_v2_asks_for_the_controller(tmp_path: Path) -> None:
    own = cgroup_v2(tmp_path / "own")
    assert own in list(places(Cgroup(own, 2)))
    assert (own / "cgroup.subtree_control").read_text() == "+memory"


def test_v2_does_not_escape_a_limit(tmp_path: Path) -> None:
    own = cgroup_v2(tmp_path / "slice" / "own", controllers="memory", limit="1000000")
    cgroup_v2(own.parent, controllers="memory")
    assert list(places(Cgroup(own, 2))) == [own]


def test_v2_without_the_controller(tmp_path: Path) -> None:
    assert list(places(Cgroup(tmp_path / "slice" / "absent", 2))) == []


def test_v1_nests(tmp_path: Path) -> None:
    assert list(places(Cgroup(tmp_path, 1))) == [tmp_path]


def test_v2_limits(tmp_path: Path) -> None:
    for name in ("memory.swap.max", "memory.oom.group"):
        (tmp_path / name).write_text("")
    set_limit(Cgroup(tmp_path, 2), 1 << 20)
    assert (tmp_path / "memory.max").read_text() == "1048576"
    assert (tmp_path / "memory.swap.max").read_text() == "0"
    assert (tmp_path / "memory.oom.group").read_text() == "1"


def test_v1_limits_with_and_without_swap_accounting(tmp_path: Path) -> None:
    set_limit(Cgroup(tmp_path, 1), 1 << 20)
    assert not (tmp_path / "memory.memsw.limit_in_bytes").exists()
    (tmp_path / "memory.memsw.limit_in_bytes").write_text("")
    set_limit(Cgroup(tmp_path, 1), 1 << 21)
    assert (tmp_path / "memory.limit_in_bytes").read_text() == "2097152"
    assert (tmp_path / "memory.memsw.limit_in_bytes").read_text() == "2097152"


@pytest.mark.parametrize(
    ("version", "name", "text", "killed"),
    [
        (2, "memory.events", "low 0\noom 1\noom_kill 1\noom_group_kill 0\n", True),
        (2, "memory.events", "low 0\noom 0\noom_kill 0\n", False),
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", True),
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", False),
        (1, "absent", "", False),
    ],
)
def test_who_was_killed(tmp_path: Path, version: int, name: str, text: str, killed: bool) -> None:
    cell = CgroupEnforcement(Cgroup(tmp_path, version)).cell("c", 1 << 20, tmp_path)
    (tmp_path / "c" / name).write_text(text)
    assert cell.oom_killed() is killed


def test_a_shell_enters_whatever_the_names_of_the_folders(tmp_path: Path) -> None:
    cells = [tmp_path / "it's one", tmp_path / "$HOME"]
    for cell in cells:
        cell.mkdir()
    text = enter(cell / "cgroup.procs" for cell in cells)
    subprocess.run(["/bin/sh", "-c", text], check=True)
    assert [(cell / "cgroup.procs").read_text() for cell in cells] == ["0\n", "0\n"]
    assert enter(()) == "true"


def test_members_of_other_pid_namespaces_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("0\n12\n")
    assert members(tmp_path) == [12]


@pytest.mark.parametrize("version", [1, 2])
def test_a_folder_that_is_no_cgroup_fails_the_probe(tmp_path: Path, version: int) -> None:
    own = cgroup_v2(tmp_path / "own", controllers="memory")
    assert open_cgroups("id", Cgroup(own, version)) is None


def test_v2_limits_are_raised(tmp_path: Path) -> None:
    raise_limit(Cgroup(tmp_path, 2), 1 << 21)
    assert (tmp_path / "memory.max").read_text() == "2097152"
    assert not (tmp_path / "memory.memsw.limit_in_bytes").exists()


def test_v1_limits_are_raised_with_that_on_swap_first(tmp_path: Path) -> None:
    raise_limit(Cgroup(tmp_path, 1), 1 << 20)
    assert (tmp_path / "memory.limit_in_bytes").read_text() == "1048576"
    swap = tmp_path / "memory.memsw.limit_in_bytes"
    (tmp_path / "memory.limit_in_bytes").unlink()
    swap.mkdir()  # which cannot be written
    with pytest.raises(OSError, match="directory"):
        raise_limit(Cgroup(tmp_path, 1), 1 << 21)
    assert not (tmp_path / "memory.limit_in_bytes").exists()
