from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openwhisk_local.containers.isolation import SamplingCell, SamplingEnforcement


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_a_limit_is_raised_whatever_an_action_has_put_there(tmp_path: Path, put) -> None:
    # Making an enforcement would make this process the parent of orphans.
    cell = SamplingCell(object.__new__(SamplingEnforcement), "a-1", 1 << 20, tmp_path)
    put(tmp_path / "memory-limit.new")
    cell.raise_limit(1 << 21)
    assert (tmp_path / "memory-limit").read_text() == str(1 << 21)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_of_who_made_a_container_is_not_its_own(tmp_path: Path, monkeypatch) -> None:
    """A forked container's keeper shares the memory of what it was forked off."""
    monkeypatch.setattr(SamplingCell, "kill", lambda cell: None)
    cell = SamplingCell(object.__new__(SamplingEnforcement), "a-1", 1 << 20, tmp_path)
    # It has no children, as whoever runs the tests may have.
    program = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        keeper.stdout.readline()
        cell.watch(keeper.pid, uncounted=[keeper.pid])
        cell.sample()
        assert not cell.oom_killed()
        cell.watch(keeper.pid)
        cell.sample()
        assert cell.oom_killed()
        keeper.kill()
