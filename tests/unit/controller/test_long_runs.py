"""A run that lasts longer than what it stores lives when nobody renews it."""

import pytest

from disdel.store.redis_store import RedisStore
from tests.support.arithmetic import Arithmetic
from tests.support.waiting import wait_until

NEIGHBOUR = "disdel:of-a-dead-controller:open"


@pytest.fixture
def arithmetic(redis_url):
    store = RedisStore(redis_url, lifetime_s=2)
    yield Arithmetic(store)
    store.close()


def test_what_a_run_has_stored_lives_as_long_as_its_controller(run, arithmetic):
    found = {}

    def outlast(request):
        store = arithmetic.store
        store.set_field(NEIGHBOUR, "wire_version", "1")
        wait_until(lambda: not store.fields(NEIGHBOUR))
        prefix = request.state_key.partition("state:")[0]
        found["open"] = store.fields(f"{prefix}open")
        found["shard"] = store.open(request.shard_key)

    arithmetic.hooks[1, 2] = outlast
    report, _ = run(epochs=3)
    assert report.status == "ok"
    assert len(report.rounds) == 3
    assert found["open"]
    assert found["shard"] is not None
