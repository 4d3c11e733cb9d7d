"""CPUs of a platform that does not tell them: asked of a container once, then remembered."""

import asyncio
import json
import os
from dataclasses import replace

import pytest

from disdel.controller.planning import nodes
from disdel.controller.planning.nodes import remember_pool, with_nodes, with_seen_nodes
from disdel.settings import Settings
from openwhisk_local.machine.cpus import usable_cpus
from tests.support.fake_platform import CAPACITY, FakePlatform, activation, sessions_of

SILENT = replace(CAPACITY, cpus=None)


@pytest.fixture(autouse=True)
def state_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))
    return tmp_path


def asked(answer, *, capacity=SILENT):
    """The CPUs that a session ends up with, what was invoked for that, and the notes."""
    platform, notes = FakePlatform({"node": lambda _: answer}), []

    async def ask():
        async with sessions_of(platform, None, "redis://")(Settings()) as session:
            session = replace(session, capacity=capacity)
            return await with_nodes(session, Settings(), lambda event: notes.append(event.message))

    session = asyncio.run(ask())
    assert not platform.packages
    return session.capacity.cpus, len(platform.invoked), notes


def test_a_container_is_asked_once_and_then_remembered():
    assert asked({"cpus": 3}) == (3, 1, [])
    assert asked({"cpus": 9}) == (3, 0, [])
    assert with_seen_nodes(SILENT, "http://fake").cpus == 3
    assert with_seen_nodes(SILENT, "http://other").cpus is None


def test_a_pool_that_was_too_small_is_remembered():
    silent = replace(SILENT, pool_memory_mb=None)
    remember_pool("http://fake", below_mb=1152)
    remember_pool("http://fake", below_mb=2000)
    assert with_seen_nodes(silent, "http://fake").pool_memory_mb == 1151
    # What the platform itself tells is not doubted.
    assert with_seen_nodes(CAPACITY, "http://fake").pool_memory_mb == CAPACITY.pool_memory_mb
    assert asked({"cpus": 3}, capacity=silent)[0] == 3
    assert with_seen_nodes(silent, "http://fake").pool_memory_mb == 1151


def test_a_platform_that_tells_is_not_asked():
    assert asked({"cpus": 3}, capacity=CAPACITY) == (2, 0, [])


def test_what_was_remembered_is_asked_again_when_it_is_old(state_dir):
    asked({"cpus": 3})
    [file] = (state_dir / "history").iterdir()
    old_s = file.stat().st_mtime - nodes._KEPT_S - 1
    os.utime(file, (old_s, old_s))
    assert asked({"cpus": 5})[0] == 5


@pytest.mark.parametrize("cpus", [0, "many", True, None, 10**9])
def test_an_answer_that_is_no_number_of_cpus_is_told_and_not_believed(cpus):
    found, _, [note] = asked({"cpus": cpus})
    assert found is None
    assert "CPUs of the platform are unknown" in note


def test_a_failed_container_does_not_end_the_run():
    failed = activation(1, "node", {"error": "Failed to pull"}, status="whisk internal error")
    cpus, _, [note] = asked(failed)
    assert cpus is None
    assert "Failed to pull" in note


@pytest.mark.parametrize("kept", ["", "[]", "{}", "[" * 100_000, '{"cpus": -1}', '{"cpus": 1e400}'])
def test_a_damaged_memory_is_none(state_dir, kept):
    asked({"cpus": 3})
    [file] = (state_dir / "history").iterdir()
    file.write_text(kept)
    assert asked({"cpus": 4})[0] == 4
    assert json.loads(file.read_text())["cpus"] == 4


def test_a_quota_of_the_cgroup_counts(tmp_path):
    cpus = usable_cpus(tmp_path)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cpus(tmp_path) == cpus
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cpus(tmp_path) == 1
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(tmp_path) == cpus
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("90000\n")
    assert usable_cpus(tmp_path) == 1
