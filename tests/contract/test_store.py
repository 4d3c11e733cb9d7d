"""What every store promises, asked of each."""

import threading

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disdel.errors import StoreError
from disdel.protocol.keys import RunKeys
from disdel.store.memory_store import MemoryStore
from disdel.store.objects.s3 import S3Store
from disdel.store.redis_store import RedisStore
from disdel.worker.run_store import RunStore
from tests.support.object_servers import KEYS, address

CHUNK_BYTES = 1000


@pytest.fixture(params=["memory", "redis", "run", "seaweed", "moto"])
def store(request):
    """Of each kind, and as an activation sees one."""
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param in ("seaweed", "moto"):
        endpoint = request.getfixturevalue(f"{request.param}_endpoint")
        objects = S3Store(address(endpoint), environ=KEYS)
        yield objects
        objects.delete_prefix("")
        objects.close()
        return
    redis = RedisStore(request.getfixturevalue("redis_url"), chunk_bytes=CHUNK_BYTES)
    redis.delete_prefix("")
    if request.param == "run":
        redis.set_field(RunKeys("a").open, RunKeys.WIRE, "1")
    yield RunStore(redis, "a") if request.param == "run" else redis
    redis.delete_prefix("")
    redis.close()


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=50,
)
@given(pieces=st.lists(st.binary(max_size=3 * CHUNK_BYTES), max_size=5), data=st.data())
def test_what_is_written_is_read_back_in_any_range(store, pieces, data):
    whole = b"".join(pieces)
    store.put_stream("blob", pieces)
    assert store.get("blob") == whole
    blob = store.existing("blob")
    assert blob.size == len(whole)
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    target = bytearray(stop - start)
    blob.read_into(memoryview(target), start)
    assert target == whole[start:stop]


def test_several_blobs_are_read_whole_whichever_are_there(store):
    blobs = {"none": b"", "one": b"x" * 7, "chunks": bytes(range(200)) * CHUNK_BYTES}
    for key, data in blobs.items():
        store.put(key, data)
    keys = ["one", "gone", "chunks", "none", "one"]
    assert store.get_each(keys) == [blobs.get(key) for key in keys]
    assert store.get_each([]) == []


def test_a_blob_that_is_not_there(store):
    assert store.open("nothing") is None
    with pytest.raises(StoreError, match="nothing is stored under nothing"):
        store.get("nothing")


def test_reading_past_the_end_is_refused(store):
    store.put("blob", b"abc")
    with pytest.raises(StoreError, match="does not hold bytes 2 to 4"):
        store.existing("blob").read_into(memoryview(bytearray(2)), 2)


def test_writing_again_replaces_and_does_not_disturb_a_reader(store):
    store.put("blob", b"a" * 2500)
    reader = store.existing("blob")
    store.put("blob", b"b" * 100)
    old = bytearray(2500)
    reader.read_into(memoryview(old))
    assert old == b"a" * 2500
    assert store.get("blob") == b"b" * 100


def test_a_stream_that_breaks_leaves_what_was_there(store):
    def broken():
        yield b"x" * 5000
        raise OSError("the source broke")

    store.put("blob", b"whole")
    with pytest.raises(OSError, match="the source broke"):
        store.put_stream("blob", broken())
    assert store.get("blob") == b"whole"


def test_of_several_writers_at_once_one_is_first(store):
    barrier = threading.Barrier(8)
    wrote = []

    def write(name):
        barrier.wait()
        if store.put_if_absent("first", name):
            wrote.append(name)

    threads = [threading.Thread(target=write, args=(b"%d" % i * 2000,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrote) == 1
    assert store.get("first") == wrote[0]
    # Who came second leaves nothing either.
    store.delete("first")
    assert store.delete_prefix("first") == 0


def test_what_is_not_written_whole_leaves_nothing(store):
    def failing():
        yield b"x" * 2500
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        store.put_stream("blob", failing())
    assert store.open("blob") is None
    assert store.delete_prefix("blob") == 0


def test_deleting_a_blob_takes_all_of_it(store):
    store.put("blob", b"x" * 2500)
    store.put("blob2", b"y")
    store.delete("blob")
    store.delete("blob")
    assert store.open("blob") is None
    assert store.get("blob2") == b"y"
    assert store.delete_prefix("blob:") == 0


def test_fields_are_overwritten_one_by_one(store):
    assert store.fields("progress") == {}
    store.set_field("progress", "0", "training")
    store.set_field("progress", "1", "storing")
    store.set_field("progress", "0", "done")
    assert store.fields("progress") == {"0": "done", "1": "storing"}


def test_deleting_a_prefix_leaves_the_neighbours(store):
    store.put("disdel:a[b]*:state:0", b"x" * 3000)
    store.set_field("disdel:a[b]*:progress", "0", "x")
    store.put("disdel:ab:state:0", b"y")
    assert store.delete_prefix("disdel:a[b]*:") >= 2
    assert store.open("disdel:a[b]*:state:0") is None
    assert store.fields("disdel:a[b]*:progress") == {}
    assert store.get("disdel:ab:state:0") == b"y"


def test_a_claimed_field_stays_as_the_first_has_written_it(store):
    assert store.get_field("claims", "0") is None
    barrier = threading.Barrier(8)
    said = []

    def claim(name):
        barrier.wait()
        said.append(store.claim_field("claims", "0", name))

    threads = [threading.Thread(target=claim, args=(f"by {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(said) == {store.get_field("claims", "0")}
    store.set_field("claims", "0", "ended")
    assert store.claim_field("claims", "0", "late") == "ended"
    store.delete_fields("claims")
    store.delete_fields("claims")
    assert store.get_field("claims", "0") is None
    assert store.fields("claims") == {}


def test_nothing_more_is_written_of_what_has_ended(store):
    store.put("over:state", b"before")
    store.stop_writing("over:")
    with pytest.raises(StoreError, match="over:state was not written: the run is over"):
        store.put("over:state", b"after")
    store.put("other:state", b"goes on")
    assert store.get("over:state") == b"before"


def test_waiting_ends_when_the_blob_appears(store):
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            store.put("late", b"x")

    store.wait_for("late", deadline_s=100.0, clock=lambda: float(len(naps)), sleep=sleep)
    assert len(naps) == 3


def test_waiting_gives_up_at_the_deadline(store):
    naps = []
    with pytest.raises(StoreError, match="waited for never, which nobody has written"):
        store.wait_for("never", deadline_s=5.0, clock=lambda: float(len(naps)), sleep=naps.append)
    assert len(naps) == 5


def test_renewing_a_prefix_lets_all_of_it_live_on_and_only_that(redis_url):
    store = RedisStore(redis_url, chunk_bytes=CHUNK_BYTES, lifetime_s=1000)
    renewing = RedisStore(redis_url, lifetime_s=5000)
    try:
        for run in ("a[b]*", "ab"):
            store.put(f"disdel:{run}:state:0", b"x" * 3000)
            store.set_field(f"disdel:{run}:open", "wire_version", "1")
            store.claim_field(f"disdel:{run}:claims", "0", "1")
        renewing.renew_prefix("disdel:a[b]*:")
        with redis.Redis.from_url(redis_url) as client:
            left_s = {key: client.ttl(key) for key in client.scan_iter()}
        renewed = {key for key, seconds in left_s.items() if seconds > 1000}
        assert renewed == {key for key in left_s if key.startswith(b"disdel:a[b]*:")}
        assert len(renewed) == len(left_s) / 2 == 6
        assert min(left_s.values()) > 0
    finally:
        store.delete_prefix("")
        store.close()
        renewing.close()
