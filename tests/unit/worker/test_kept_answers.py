"""What an activation leaves of its answer, for platforms that keep no records."""

import asyncio
import dataclasses
import json
import os
import subprocess
import sys

import psutil
import pytest

from disdel.controller.invoking.claims import Claims
from disdel.errors import StoreError
from disdel.platforms.base import ActionSpec, Begun
from disdel.protocol.keys import RunKeys
from disdel.protocol.messages import WIRE_VERSION
from disdel.store.redis_store import RedisStore
from disdel.worker import tasks
from disdel.worker.run_store import RunStore
from tests.support.fake_platform import FakePlatform
from tests.support.waiting import wait_until

KEYS = RunKeys("kept1.1")


@dataclasses.dataclass
class Answer:
    n: int


class Recordless(FakePlatform):
    keeps_records = False


def invoked(redis_url, platform, run, **arguments):
    """What the action was asked beside its arguments, and what is found of it afterwards."""
    store = RedisStore(redis_url)
    store.set_field(KEYS.open, "wire_version", str(WIRE_VERSION))
    asked, found = [], []

    def handler(args):
        asked.append(args)
        return tasks.answered({**args, "v": WIRE_VERSION, "run": KEYS.run, "store": redis_url}, run)

    class Platform(platform):
        async def invoke(self, package, action, arguments, *, begun, **rest):
            record = await super().invoke(package, action, arguments, begun=begun, **rest)
            found.append(await begun())
            return record

    async def body():
        served = Platform({"act": handler})
        await served.create_package("p", {})
        await served.create_action(
            "p", ActionSpec(name="act", code=b"", memory_mb=128, timeout_s=10)
        )
        claims = Claims(served, store, KEYS)
        return await claims.invoke("p", "act", arguments, invocation="0a", timeout_s=10)

    try:
        asyncio.run(body())
        return asked[0], found[0]
    finally:
        store.delete_prefix(KEYS.prefix)
        store.close()


def fails(args, context):
    raise StoreError("the parts are gone")


@pytest.mark.parametrize(
    ("run", "result"),
    [
        (lambda args, context: Answer(3), {"n": 3}),
        (fails, {"error": {"kind": "store", "message": "the parts are gone"}}),
    ],
)
def test_an_answer_is_found_where_there_will_be_no_record(redis_url, run, result, monkeypatch):
    monkeypatch.setattr(tasks, "_log", lambda *_: None)
    asked, found = invoked(redis_url, Recordless, run)
    assert asked["keeps_answer"] is True
    assert found == Begun(activation_id=found.activation_id, ended=True, result=result)


@pytest.mark.parametrize(
    ("platform", "arguments"), [(FakePlatform, {}), (Recordless, {"task": "secure"})]
)
def test_no_answer_is_left_where_none_is_needed_or_clients_must_not_read_it(
    redis_url, platform, arguments, monkeypatch
):
    monkeypatch.setattr(tasks, "_log", lambda *_: None)
    asked, found = invoked(redis_url, platform, lambda args, context: Answer(3), **arguments)
    assert "keeps_answer" not in asked
    assert (found.ended, found.result) == (True, None)


@pytest.fixture
def store(redis_url):
    opened = RedisStore(redis_url)
    opened.set_field(KEYS.open, "wire_version", str(WIRE_VERSION))
    yield opened
    opened.delete_prefix(KEYS.prefix)
    opened.close()


@pytest.mark.parametrize("again", [["a" * 32] * 3, ["a" * 32, "b" * 32, "a" * 32]])
def test_of_what_is_delivered_three_times_the_first_counts(store, redis_url, again, monkeypatch):
    """Platforms deliver twice, under the same id or another; the last one here says otherwise."""
    monkeypatch.setattr(tasks, "_log", lambda *_: None)
    told = iter([b"first", b"second", b"third"])

    def train(args, context):
        update = next(told)
        context.store.put(KEYS.update(1, 0, 0, 0), update)
        return Answer(len(update))

    asked = {"v": WIRE_VERSION, "run": KEYS.run, "store": redis_url}
    replies = []
    for activation in again:
        monkeypatch.setenv("__OW_ACTIVATION_ID", activation)
        replies.append(tasks.answered({**asked, "invocation": "0a", "keeps_answer": True}, train))
    assert replies == [{"n": 5}] + [{"claimed_by": again[0]}] * 2
    # What is summed is what the first has written, and what is known of it is its answer.
    assert store.get(KEYS.update(1, 0, 0, 0)) == b"first"
    assert store.get_field(KEYS.claims, "0a") == f"{again[0]} ended {json.dumps({'n': 5})}"
    assert sorted(store.fields(KEYS.again).values()) == sorted(again[1:])


def test_a_retried_claim_is_ones_own(store):
    """Its first answer got lost: it was the same execution."""
    run_store = RunStore(store, KEYS.run)
    store.set_field(KEYS.claims, "0a", "a" * 32)
    assert run_store.claim("0a", "a" * 32) is None
    assert not store.fields(KEYS.again)


# Stops itself as a platform does it that takes the CPU away with the reply.
FROZEN = """
import os, signal, sys

from disdel.protocol.messages import WIRE_VERSION
from disdel.worker import tasks
from tests.unit.worker.test_kept_answers import KEYS, Answer

def train(args, context):
    context.store.put(KEYS.update(1, 0, 0, 0), b"update")
    return Answer(context.peak_mb())

asked = {"v": WIRE_VERSION, "run": KEYS.run, "store": sys.argv[1], "task": "train"}
reply = tasks.answered({**asked, "invocation": "0a", "keeps_answer": True}, train)
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_all_is_stored_before_the_reply(store, redis_url):
    process = psutil.Popen(
        [sys.executable, "-c", FROZEN, redis_url],
        env={**os.environ, "__OW_ACTIVATION_ID": "a" * 32},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED or process.poll() is not None)
        assert process.poll() is None
        assert store.get(KEYS.update(1, 0, 0, 0)) == b"update"
        answer = store.get_field(KEYS.claims, "0a").partition(" ended ")[2]
        # With its figures.
        assert json.loads(answer)["n"] > 0
    finally:
        process.kill()
        process.wait()
