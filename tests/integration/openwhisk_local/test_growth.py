"""Stem cells, growth of a container's memory, and what outlives a platform."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from disdel.errors import PlatformError, UsageError
from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from tests.support.embedded import (
    OURS,
    WAIT,
    WHERE,
    User,
    annotations,
    failed,
    platform,
    proxies,
)
from tests.support.waiting import wait_until


def test_a_stem_cell_is_taken_and_replaced(tmp_path: Path) -> None:
    prewarm = ("python:3:128:1", "disdel/runtime-base:256:1")
    image = {"kind": "blackbox", "image": "disdel/runtime-base:1", "code": WHERE}
    with platform(tmp_path / "state", user_memory_mb=8192, prewarm=prewarm) as user:

        def ids() -> set[str]:
            return {*proxies(user.record)}

        cells = wait_until(lambda: len(found := ids()) == 2 and found)
        names = (f"where{number}" for number in itertools.count())
        used = set()

        def of_a_cell(**wire: Any) -> dict[str, Any] | None:
            """The record of a new action, if its container is one of the first stem cells."""
            name = next(names)
            user.put(name, WHERE, **wire)
            record = user.invoke(name).json()
            container = record["response"]["result"]["container"]
            used.add(container)
            return record if container in cells else None

        # One of another size is of no use.
        assert not of_a_cell(memory=256)
        # Nobody waits for one that is not ready yet.
        record = wait_until(of_a_cell)
        assert "initTime" in annotations(record)
        assert wait_until(lambda: of_a_cell(exec=image, memory=256))
        # Two that nobody has used have taken the places of the first.
        wait_until(lambda: len(ids() - used) == 2)


@pytest.mark.parametrize(
    ("prewarm", "why"),
    [
        (("python:3:256:9",), r"asks for 2304 MB of containers, and there are 1024 MB for all"),
        (("ruby:2:256:1",), r"'ruby:2:256:1' is not KIND_OR_IMAGE:MB:COUNT"),
    ],
)
def test_stem_cells_that_cannot_be(tmp_path: Path, prewarm: tuple[str, ...], why: str) -> None:
    options = EmbeddedOptions(state_dir=tmp_path, limits="stock", prewarm=prewarm)
    with pytest.raises(UsageError, match=why):
        start_embedded(options)


# Takes memory step by step. Near its limit it waits until each step is seen, and for the limit to
# grow.
HUNGRY = (
    "import json, os, time\n"
    "def main(args):\n"
    "    eaten = []\n"
    "    for _ in range(args['mb'] // 8):\n"
    "        eaten.append(bytearray(b'x' * (8 << 20)))\n"
    "        while not seen(len(eaten) * (8 << 20)): time.sleep(0.01)\n"
    "        pauses = 0\n"
    "        while critical() and pauses < args['pauses']:\n"
    "            pauses += 1\n"
    "            time.sleep(0.02)\n"
    "        if critical() and args['stops']: return {'eaten': len(eaten) * 8, 'stopped': True}\n"
    "    return {'eaten': len(eaten) * 8, 'stopped': False}\n"
    "def critical(): return state()['critical']\n"
    "def seen(taken):\n"
    "    now = state()\n"
    "    return taken < now['limit_bytes'] - (80 << 20) or taken <= now['used_bytes']\n"
    "def state():\n"
    "    with open(os.environ['__OW_MEMORY_STATE']) as file: return json.load(file)\n"
)


@pytest.mark.parametrize("enforcement", ["auto", "sampling"])
def test_a_container_grows_out_of_its_limit(tmp_path: Path, enforcement: str) -> None:
    options = {"enforcement": enforcement, "user_memory_mb": 768}
    with platform(tmp_path / "state", grow_to_mb=640, **options) as user:
        user.put("hungry", HUNGRY, memory=256)
        eaten = user.invoke("hungry", mb=400, pauses=500, stops=False).json()
        assert eaten["response"]["result"] == {"eaten": 400, "stopped": False}
        facts = annotations(eaten)
        assert facts["grownMemory"] == 512
        assert facts["peakMemory"] > 256
        # It keeps what it has: no second container of 512 MB fits beside it.
        again = user.invoke("hungry", mb=8, pauses=0, stops=False).json()
        assert "initTime" not in annotations(again)
        assert annotations(again)["grownMemory"] == 512
        user.put("other", WHERE, memory=512)
        user.invoke("other")
        assert "initTime" in annotations(user.invoke("hungry", mb=8, pauses=0, stops=False).json())


def test_nothing_grows_by_itself(guest: User) -> None:
    guest.put("hungry", HUNGRY, memory=128, image=OURS)
    message = "The action exhausted its memory and was aborted."
    failed(guest.invoke("hungry", mb=400, pauses=0, stops=False), "action developer error", message)


def test_growth_is_refused_when_the_pool_is_full(tmp_path: Path) -> None:
    with platform(tmp_path / "state", grow_to_mb=1024, user_memory_mb=512) as user:
        user.put("hungry", HUNGRY, memory=256, image=OURS)
        user.put("wait", WAIT, memory=256)
        mark, until = tmp_path / "mark", tmp_path / "until"
        running = user.start("wait", until=str(until), started=str(mark))
        wait_until(mark.exists)
        # One that cooperates sees that memory is critical, and is not killed.
        stopped = user.invoke("hungry", mb=400, pauses=5, stops=True).json()
        assert stopped["response"]["result"]["stopped"]
        assert "grownMemory" not in annotations(stopped)
        message = "The action exhausted its memory and was aborted."
        reply = user.invoke("hungry", mb=400, pauses=5, stops=False)
        failed(reply, "action developer error", message)
        until.touch()
        user.activation(running)
        # The other container is free now, and makes room.
        grown = user.invoke("hungry", mb=400, pauses=500, stops=False).json()
        assert grown["response"]["result"]["eaten"] == 400
        assert annotations(grown)["grownMemory"] == 512


def test_growth_beyond_what_an_action_may_have(tmp_path: Path) -> None:
    options = EmbeddedOptions(state_dir=tmp_path, limits="stock", grow_to_mb=513)
    with pytest.raises(UsageError, match="cannot grow to 513 MB where an action may have 512"):
        start_embedded(options)


def test_a_container_that_shuts_down_is_left(guest: User) -> None:
    # From its second activation on the container answers 503, which the platform takes for that.
    code = (
        "import http.server, os\n"
        "answer = http.server.BaseHTTPRequestHandler.send_response\n"
        "runs = 0\n"
        "def main(args):\n"
        "    global runs\n"
        "    runs += 1\n"
        "    leaves = runs > 1\n"
        "    def send_response(self, code, message=None):\n"
        "        return answer(self, 503 if leaves else code, message)\n"
        "    http.server.BaseHTTPRequestHandler.send_response = send_response\n"
        "    return {'container': os.environ['DISDEL_CONTAINER']}\n"
    )
    guest.put("leaves", code)
    first, second = (guest.invoke("leaves").json() for _ in range(2))
    assert second["response"]["success"]
    assert second["response"]["result"] != first["response"]["result"]
    assert "initTime" in annotations(second)


def test_state_outlives_the_platform(tmp_path: Path) -> None:
    state, kept = tmp_path / "state", tmp_path / "kept"
    with platform(state, state=kept) as user:
        user.client.put("/packages/p", json={"parameters": [{"key": "x", "value": 1}]})
        binding = {"binding": {"namespace": "_", "name": "p"}}
        user.client.put("/packages/bound", json=binding)
        parameters = [{"key": "y", "value": {"z": [1, None]}, "init": True}]
        user.put("p/a", parameters=parameters, memory=256)
        steps = {"kind": "sequence", "components": ["/_/p/a"]}
        user.put("s", exec=steps)
        user.client.put("/triggers/t", json={})
        user.client.put("/rules/r", json={"trigger": "/_/t", "action": "/_/s"})
        user.put("gone")
        user.client.delete("/actions/gone")
        ended = user.invoke("bound/a").json()
        user.invoke("s")
        user.client.post("/triggers/t", json={})
        wait_until(lambda: len(user.client.get("/activations").json()) == 6)
        before = [user.client.get(path).json() for path in _SHOWN]
        auth = user.record.auth
    with platform(state, state=kept) as user:
        assert user.record.auth == auth
        assert [user.client.get(path).json() for path in _SHOWN] == before
        assert user.activation(ended["activationId"])["response"] == ended["response"]
        user.client.delete("/packages/p?force=true")
    with platform(state, state=kept) as user:
        assert [package["name"] for package in user.client.get("/packages").json()] == ["bound"]


_SHOWN = (
    "/packages",
    "/actions",
    "/triggers",
    "/rules",
    "/packages/bound",
    "/actions/bound/a",
    "/actions/s",
    "/triggers/t",
    "/rules/r",
    "/activations?docs=true",
)


def test_state_is_for_one_platform_at_a_time(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    other = EmbeddedOptions(state_dir=tmp_path / "other", state=kept)
    with (
        platform(tmp_path / "state", state=kept),
        pytest.raises(PlatformError, match="is in use by another platform"),
    ):
        start_embedded(other)


def test_damaged_state_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with platform(tmp_path / "state", state=kept) as user:
        user.put("a")
    file = kept / "platform.sqlite"
    assert file.stat().st_mode & 0o077 == 0
    file.write_bytes(b"no database" * 1000)
    options = EmbeddedOptions(state_dir=tmp_path / "state", state=kept)
    with pytest.raises(PlatformError, match=r"is damaged \(.*\): move the file away"):
        start_embedded(options)
    assert file.exists()
