"""What a Redis is asked twice: a command whose answer got lost, a connection that was closed."""

import inspect
import json
import os
import signal
import subprocess
import sys
from collections import Counter

import psutil
import pytest
import redis

from disdel.protocol.keys import RunKeys
from disdel.protocol.messages import WIRE_VERSION
from disdel.store.base import Store
from disdel.store.private_redis import PrivateRedis
from disdel.store.redis_examination import examine
from disdel.store.redis_store import RedisStore
from tests.support.waiting import wait_until

# Executed twice, each of these leaves what once had left, and answers what serves as well.
REPEATABLE = {
    *("set", "get", "getrange", "exists", "unlink", "expire", "scan"),
    *("hset", "hsetnx", "hget", "hgetall"),
    # SETUSER and DELUSER.
    *("ping", "acl"),
}
# What this test asks itself.
_OWN = {"info", "config", "client", "hello"}
KEYS = RunKeys("again1.1")
RULES = ["reset", "on", "nopass", "~again:*", "+@read"]


@pytest.fixture(scope="module")
def server():
    with PrivateRedis() as own:
        own.ready()
        yield own.url


@pytest.fixture
def store(server):
    opened = RedisStore(server, chunk_bytes=10)
    opened.set_field(KEYS.open, RunKeys.WIRE, str(WIRE_VERSION))
    yield opened
    opened.delete_prefix("")
    opened.close()


def executed(server):
    """How often each command was, since that was last forgotten."""
    with redis.Redis.from_url(server) as client:
        found = client.info("commandstats")
    counts = Counter()
    for name, each in found.items():
        counts[name.removeprefix("cmdstat_").partition("|")[0]] += each["calls"]
    return {name: count for name, count in counts.items() if name not in _OWN | {"auth"}}


def forget(server):
    with redis.Redis.from_url(server) as client:
        client.config_resetstat()


DEEDS = {
    "put": lambda store: store.put("key", b"data"),
    "put_stream": lambda store: store.put_stream("key", [b"a" * 25]),
    "put_if_absent": lambda store: store.put_if_absent("other", b"data"),
    "open": lambda store: store.open("key"),
    "existing": lambda store: store.existing("key").read_into(memoryview(bytearray(2))),
    "get": lambda store: store.get("key"),
    "wait_for": lambda store: store.wait_for("key", 0.0),
    "delete": lambda store: store.delete("other"),
    "renew_prefix": lambda store: store.renew_prefix("key"),
    "set_field": lambda store: store.set_field("hash", "field", "text"),
    "claim_field": lambda store: store.claim_field("hash", "claim", "text"),
    "get_field": lambda store: store.get_field("hash", "field"),
    "fields": lambda store: store.fields("hash"),
    "delete_fields": lambda store: store.delete_fields("hash"),
    "get_each": lambda store: store.get_each(["key", "other"]),
    "read_chunk": lambda store: store.read_chunk("key:0", 0, 1),
    "make_user": lambda store: store.make_user("somebody", RULES),
    "remove_user": lambda store: store.remove_user("somebody"),
    "ask": lambda store: store.ask(lambda client: examine(client, "here")),
    "delete_prefix": lambda store: store.delete_prefix(""),
}
# They ask no server.
ELSEWHERE = {"lend", "missing", "take", "bring", "stop_writing", "close"}


def test_no_command_counts_what_is_executed_twice(store, server):
    """A counter would: INCR, APPEND, LPUSH and what is like them."""
    public = {
        name
        for cls in (Store, RedisStore)
        for name, _ in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_")
    }
    assert public - ELSEWHERE == DEEDS.keys()
    forget(server)
    for deed in DEEDS.values():
        deed(store)
    assert not executed(server).keys() - REPEATABLE


# Writes, says so, and writes again when it is told to.
CONTAINER = """
import json, sys

from disdel.store.redis_store import RedisStore
from disdel.worker.run_store import RunStore
from tests.unit.store.test_redis_again import KEYS

store = RunStore(RedisStore(sys.argv[1], chunk_bytes=10), KEYS.run)
for line in sys.stdin:
    n = json.loads(line)
    store.claim(f"call-{n}", "a" * 32)
    store.put(KEYS.update(n, 0, 0, 0), bytes([n]) * 25)
    store.ended(f"call-{n}", "a" * 32)
    print(n, flush=True)
"""


def test_a_container_that_was_frozen_while_its_connection_was_closed_writes_once(store, server):
    process = psutil.Popen(
        [sys.executable, "-c", CONTAINER, server],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    )

    def call(n):
        process.stdin.write(f"{json.dumps(n)}\n")
        process.stdin.flush()
        assert int(process.stdout.readline()) == n

    try:
        call(1)
        forget(server)
        call(2)
        ordinary = executed(server)
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
        with redis.Redis.from_url(server) as client:
            # As a server does it, or a firewall, with connections that nobody uses.
            assert client.client_kill_filter(_type="normal", skipme=True) >= 1
        process.send_signal(signal.SIGCONT)
        forget(server)
        call(3)
        assert executed(server) == ordinary
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    assert [store.get(KEYS.update(n, 0, 0, 0))[:1] for n in (1, 2, 3)] == [b"\1", b"\2", b"\3"]
    assert store.get_field(KEYS.claims, "call-3") == f"{'a' * 32} ended"
    assert not store.fields(KEYS.again)
