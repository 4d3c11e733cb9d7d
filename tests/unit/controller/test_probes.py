"""Packages that only ask a platform something: on record, and removed whatever happens."""

import asyncio
import shutil
from dataclasses import replace

import pytest

from disdel.controller.planning.nodes import with_nodes
from disdel.controller.runs.places import CONTROLLER_NAME, Place
from disdel.controller.runs.probes import recorded, sweep
from disdel.errors import PlatformLost
from disdel.settings import Settings
from tests.support.fake_platform import CAPACITY, FakePlatform, sessions_of

HERE = Place(platform="openwhisk", address="http://fake", store=None)


@pytest.fixture(autouse=True)
def probes(monkeypatch, tmp_path):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))
    return tmp_path / "probes"


class Failing(FakePlatform):
    """Loses what removes a package."""

    async def remove_package(self, package):
        raise PlatformLost("it has failed for 60 s")


def killed(probes, name="node-1"):
    """What a process leaves that is killed while it has a package."""
    with recorded(name, HERE):
        shutil.copytree(probes / name, probes / "copy", ignore=shutil.ignore_patterns("*.lock"))
    shutil.rmtree(probes / name)
    (probes / "copy").rename(probes / name)


def swept(platform, is_there=lambda place: place == HERE):
    return asyncio.run(sweep(platform, is_there))


def test_what_a_killed_process_has_left_is_removed(probes):
    killed(probes)
    platform = FakePlatform({})
    platform.packages = {"disdel-node-1": {}, "disdel-other": {}}
    assert swept(platform) == []
    assert set(platform.packages) == {"disdel-other"}
    assert not list(probes.iterdir())


def test_what_is_another_platforms_stays_on_record(probes):
    killed(probes)
    platform = FakePlatform({})
    platform.packages = {"disdel-node-1": {}}
    assert swept(platform, lambda place: False) == []
    assert platform.packages
    assert (probes / "node-1" / CONTROLLER_NAME).exists()


def test_what_cannot_be_removed_stays_on_record(probes):
    killed(probes)
    [error] = swept(Failing({}))
    assert "has failed for 60 s" in str(error)
    assert (probes / "node-1" / CONTROLLER_NAME).exists()
    assert swept(FakePlatform({})) == []
    assert not list(probes.iterdir())


def test_a_package_in_use_is_left_alone(probes):
    platform = FakePlatform({})
    platform.packages = {"disdel-node-1": {}}
    with recorded("node-1", HERE) as removed:
        assert swept(platform) == []
        assert platform.packages
        removed()
    assert not list(probes.iterdir())


def test_what_ends_with_its_session_is_not_recorded(probes):
    with recorded("node-1", Place(platform="embedded", address=None, store=None)):
        assert not probes.exists()


@pytest.mark.parametrize("kind", [FakePlatform, Failing])
def test_asking_a_container_is_on_record_until_its_package_is_gone(probes, kind):
    on_record = []

    def node(_):
        on_record.extend(folder.name for folder in probes.iterdir())
        return {"cpus": 3}

    async def ask():
        async with sessions_of(kind({"node": node}), None, "redis://")(Settings()) as session:
            silent = replace(session, capacity=replace(CAPACITY, cpus=None))
            await with_nodes(silent, Settings(), lambda event: None)

    asyncio.run(ask())
    [name] = on_record
    assert name.startswith("node-")
    assert [folder.name for folder in probes.iterdir()] == ([name] if kind is Failing else [])


def test_a_state_directory_that_cannot_be_written_is_in_nobodys_way(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path / "file"))
    with recorded("node-1", HERE) as removed:
        removed()
    assert swept(FakePlatform({})) == []
