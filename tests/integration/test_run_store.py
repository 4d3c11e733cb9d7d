"""What an activation writes while its run ends, on a real Redis."""

import pytest
import redis

from disdel.protocol.keys import RunKeys
from disdel.store.opening import open_store
from disdel.store.redis_store import RedisStore
from disdel.worker.cancellation import Cancelled
from disdel.worker.run_store import RunStore

KEYS = RunKeys("swift-river-1a2b")


@pytest.fixture
def controllers(redis_url):
    store = RedisStore(redis_url)
    store.set_field(KEYS.open, RunKeys.WIRE, "1")
    yield store
    store.delete_prefix(KEYS.prefix)
    store.close()


@pytest.fixture
def activations(controllers, redis_url):
    store = RunStore(open_store(redis_url), KEYS.run)
    yield store
    store.close()


def test_what_a_late_activation_writes_is_gone(controllers, activations, redis_url):
    def pieces():
        yield b"begun while the run goes on, "
        controllers.delete_prefix(KEYS.prefix)
        yield b"ended when it is over"

    with pytest.raises(Cancelled, match="state:1 was not kept: the run is over"):
        activations.put_stream(KEYS.state(1), pieces())
    with pytest.raises(Cancelled, match="state:0 was not kept"):
        activations.put_if_absent(KEYS.state(0), b"initial")
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys(f"{KEYS.prefix}*") == []


def test_while_the_run_goes_on_everything_stays(activations):
    activations.put(KEYS.state(1), b"state")
    assert activations.put_if_absent(KEYS.state(0), b"initial")
    assert not activations.put_if_absent(KEYS.state(0), b"another")
    assert activations.get(KEYS.state(1)) == b"state"
    assert activations.get(KEYS.state(0)) == b"initial"


def test_actions_called_by_hand_have_no_run_to_look_for(redis_url):
    store = RunStore(open_store(redis_url), "unmarked")
    store.put("disdel:unmarked:part", b"x")
    assert store.get("disdel:unmarked:part") == b"x"
    assert store.delete_prefix("disdel:unmarked:") == 2
    store.close()


def test_what_is_written_during_a_scan_is_deleted_too(controllers, redis_url, monkeypatch):
    """A scan may pass a place before something is written there."""
    scan = redis.Redis.scan

    late = [f"{KEYS.prefix}late"]

    def scan_then_write(client, *args, **kwargs):
        found = scan(client, *args, **kwargs)
        if late:
            client.set(late.pop(), "x")
        return found

    controllers.put(KEYS.state(0), b"initial")
    monkeypatch.setattr(redis.Redis, "scan", scan_then_write)
    controllers.delete_prefix(KEYS.prefix)
    assert not late
    monkeypatch.undo()
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys(f"{KEYS.prefix}*") == []
