"""Memory of an action: what it can read of it, and who is warned when little is left."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import asdict
from pathlib import Path

import pytest
import redis

from disdel.memory_agent import memory_warning
from disdel.memory_agent.check import Checker
from disdel.protocol import memory_grant
from tests.support.action_proxy import SENTINEL, proxy
from tests.support.waiting import DEADLINE_S

CRITICAL = """
import json, os, time

def main(args):
    blocks = []
    while not (state := json.load(open(os.environ["__OW_MEMORY_STATE"])))["critical"]:
        blocks.append(bytearray(4 << 20))
        time.sleep(0.01)
    return RESULT
"""
SECRET = b"a secret of enough bytes"
LIMITED = {"DISDEL_MEMORY_LIMIT_BYTES": str(100 << 20), "DISDEL_MEMORY_CRITICAL_MB": "40"}


def test_the_memory_monitor(tmp_path: Path) -> None:
    code = (
        "import json, os, time\n"
        "def main(args):\n"
        "    block = bytearray(50 << 20)\n"
        "    while True:\n"
        "        state = json.load(open(os.environ['__OW_MEMORY_STATE']))\n"
        "        if state['used_bytes'] > 50 << 20:\n"
        "            return state\n"
        "        time.sleep(0.01)\n"
    )
    with proxy(tmp_path, DISDEL_MEMORY_LIMIT_BYTES=str(1 << 30)) as action:
        action.init(code)
        reply = action.run()
    assert int(reply.headers["x-disdel-peak-memory-bytes"]) > 50 << 20
    assert reply.json()["peak_bytes"] >= reply.json()["used_bytes"]
    assert reply.json()["limit_bytes"] is not None


def test_an_action_that_comes_near_its_limit_is_warned(tmp_path: Path) -> None:
    with proxy(tmp_path, **LIMITED) as action:
        action.init(CRITICAL.replace("RESULT", "state"))
        reply = action.run({"store": "redis://127.0.0.1:1"})
        _, err = action.end()
    assert reply.status_code == 200
    assert reply.headers["x-disdel-memory-critical"] == "1"
    # The result stays what the action returned.
    assert set(reply.json()) == {"used_bytes", "peak_bytes", "limit_bytes", "critical"}
    assert reply.json()["used_bytes"] > 60 << 20
    # Without memory_warning.py beside the proxy the parameter `redis` means nothing to it.
    [line, end] = err.splitlines()
    assert re.fullmatch(
        r"disdel: memory is critical: \d+ of 100 MB are in use, less than 40 MB are left", line
    )
    assert end == SENTINEL


def test_the_warning_belongs_to_its_activation(tmp_path: Path) -> None:
    code = CRITICAL.replace("RESULT", "{}") + (
        "\nfill = main\ndef main(args): return fill(args) if args.get('fill') else {}\n"
    )
    with proxy(tmp_path, **LIMITED) as action:
        action.init(code)
        critical = [
            "x-disdel-memory-critical" in action.run(value).headers
            for value in ({}, {"fill": True}, {})
        ]
    assert critical == [False, True, False]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("{'mine': 1}", {"mine", "_memory"}),
        # Of an error OpenWhisk keeps nothing else.
        ("{'error': 'no'}", {"error"}),
        ("[1]", {1}),
    ],
)
def test_a_field_in_the_reply_for_those_who_ask_for_it(
    tmp_path: Path, result: str, expected: set[object]
) -> None:
    with proxy(tmp_path, DISDEL_MEMORY_REPLY_FIELD="_memory", **LIMITED) as action:
        action.init(CRITICAL.replace("RESULT", result))
        reply = action.run().json()
    assert set(reply) == expected
    if "_memory" in reply:
        assert reply["_memory"]["critical"] is True


def test_no_field_without_need(tmp_path: Path) -> None:
    with proxy(tmp_path, DISDEL_MEMORY_REPLY_FIELD="_memory") as action:
        action.init()
        assert action.run({"mine": 1}).json() == {"mine": 1}


def test_the_memory_agent_is_told_over_redis(tmp_path: Path, redis_url: str) -> None:
    with (
        redis.Redis.from_url(redis_url) as client,
        client.pubsub(ignore_subscribe_messages=True) as channel,
        proxy(tmp_path, agent=True, **LIMITED) as action,
    ):
        channel.subscribe(memory_warning.CHANNEL)
        channel.get_message(timeout=DEADLINE_S)
        action.init(CRITICAL.replace("RESULT", "{}"))
        value = {"store": redis_url, memory_grant.ARGUMENT: memory_grant.issue(SECRET)}
        action.run(value, activation_id="a" * 32, action_name="/guest/a")
        message = channel.get_message(timeout=DEADLINE_S)
    warning = asdict(Checker(SECRET).read(message["data"])[1])
    assert warning.pop("used_bytes") > 60 << 20
    assert warning.pop("time_s") > 0
    assert warning == {
        "host": socket.gethostname(),
        "action": "/guest/a",
        "activation_id": "a" * 32,
        "limit_bytes": 100 << 20,
        "critical_bytes": 40 << 20,
    }


@pytest.mark.parametrize("url", ["redis://:hunter2@127.0.0.1:1", "nonsense:hunter2"])
def test_an_agent_that_cannot_be_told_costs_a_line(tmp_path: Path, url: str) -> None:
    with proxy(tmp_path, agent=True, **LIMITED) as action:
        action.init(CRITICAL.replace("RESULT", "{}"))
        value = {"store": url, memory_grant.ARGUMENT: memory_grant.issue(SECRET)}
        assert action.run(value).status_code == 200
        _, err = action.end()
    assert "disdel: the memory agent was not told: " in err
    assert "hunter2" not in err


def test_the_platform_may_say_where_the_state_goes(tmp_path: Path) -> None:
    state = tmp_path / "memory.json"
    with proxy(tmp_path, __OW_MEMORY_STATE=str(state)) as action:
        action.init()
        action.run()
    assert json.loads(state.read_text())["critical"] is False


def test_a_critical_region_of_no_size_is_an_error_at_the_start(tmp_path: Path) -> None:
    with proxy(tmp_path, DISDEL_MEMORY_CRITICAL_MB="ten") as action:
        _, err = action.process.communicate()
    assert "DISDEL_MEMORY_CRITICAL_MB is 'ten' and must be a number of MB" in err
    assert action.process.returncode != 0
