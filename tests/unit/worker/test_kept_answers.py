"""What an activation leaves of its answer, for platforms that keep no records."""

import asyncio
import dataclasses

import pytest

from disdel.controller.invoking.claims import Claims
from disdel.errors import StoreError
from disdel.platforms.base import ActionSpec, Begun
from disdel.protocol.keys import RunKeys
from disdel.protocol.messages import WIRE_VERSION
from disdel.store.redis_store import RedisStore
from disdel.worker import tasks
from tests.support.fake_platform import FakePlatform

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
