"""The store's server: a private one that leaves nothing, and servers that fail."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import redis

from disdel.errors import ConnectionRefused, StoreError
from disdel.store.private_redis import PrivateRedis
from disdel.store.redis_store import RedisStore
from tests.support.processes import has_ended
from tests.support.waiting import wait_until


def server_at(url):
    """The process that listens where `url` says."""
    port = int(url.rpartition(":")[2])
    [pid] = {
        connection.pid
        for connection in psutil.net_connections("tcp4")
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
    }
    return psutil.Process(pid)


def test_a_private_server_needs_its_password_and_goes_with_its_folder():
    with PrivateRedis() as server:
        server.ready()
        process = server_at(server.url)
        folder = Path(process.cwd())
        host = server.url.rpartition("@")[2]
        with (
            redis.Redis.from_url(f"redis://{host}") as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
    assert has_ended(process)
    assert not folder.exists()


def test_a_private_server_ends_when_its_owner_is_killed():
    code = """
import json, sys
from disdel.store.private_redis import PrivateRedis
server = PrivateRedis()
server.ready()
print(json.dumps(server.url), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        server = server_at(json.loads(owner.stdout.readline()))
        folder = Path(server.cwd())
        os.kill(owner.pid, signal.SIGKILL)
        wait_until(lambda: has_ended(server) and not folder.exists())


def test_nobody_answers():
    with pytest.raises(
        ConnectionRefused, match=r"no Redis answers at redis://127\.0\.0\.1:1 .*--redis"
    ):
        RedisStore("redis://127.0.0.1:1")


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost"])
def test_a_url_of_another_kind(url):
    with pytest.raises(ConnectionRefused, match="is not a Redis URL"):
        RedisStore(url)


def test_a_wrong_password_is_told_without_it(redis_url):
    host = redis_url.rpartition("@")[2]
    with pytest.raises(ConnectionRefused) as refused:
        RedisStore(f"redis://:hunter2@{host}")
    assert "hunter2" not in str(refused.value)


def test_a_server_that_dies_becomes_a_store_error():
    with PrivateRedis() as server:
        server.ready()
        store = RedisStore(server.url)
        store.put("key", b"x")
        process = server_at(server.url)
        process.kill()
        wait_until(lambda: has_ended(process))
        for fails in (
            lambda: store.get("key"),
            lambda: store.put("key", b"y"),
            lambda: store.fields("f"),
        ):
            with pytest.raises(StoreError, match=r"Redis at redis://\*\*\*@127\.0\.0\.1.* failed"):
                fails()
        store.close()


@pytest.mark.parametrize("ends", ["is killed", "stops"])
def test_a_private_server_that_has_ended_is_known_to_have(ends):
    with PrivateRedis() as server:
        server.ready()
        assert not server.has_ended()
        if ends == "stops":
            with redis.Redis.from_url(server.url) as admin:
                admin.shutdown(nosave=True)
        else:
            server_at(server.url).kill()
        wait_until(server.has_ended)


def test_a_full_server_becomes_a_store_error():
    with PrivateRedis() as server:
        server.ready()
        with redis.Redis.from_url(server.url) as admin:
            admin.config_set("maxmemory", "3mb")
        store = RedisStore(server.url)
        with pytest.raises(StoreError, match="maxmemory"):
            store.put("key", bytes(8 << 20))
        store.close()


def test_a_blob_of_another_format_is_refused(redis_url):
    store = RedisStore(redis_url)
    with redis.Redis.from_url(redis_url) as other:
        other.set("odd", json.dumps({"version": 99}))
    with pytest.raises(StoreError, match=r"version 99 .* this disdel reads 1"):
        store.open("odd")
    store.delete_prefix("odd")
    store.close()


def test_what_a_killed_watcher_leaves_goes_with_the_next_server(tmp_path, monkeypatch):
    # Else the next server may be another test's.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = """
import json, os, signal, sys
from disdel.store.private_redis import PrivateRedis
server = PrivateRedis()
server.ready()
os.kill(server._watcher.pid, signal.SIGKILL)
print(json.dumps(server.url), flush=True)
if sys.stdin.readline() == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
server.close()
"""
    for ending in ("kill", "close"):
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as owner:
            server = server_at(json.loads(owner.stdout.readline()))
            folder = Path(server.cwd())
            owner.communicate(ending)
        assert has_ended(server) == (ending == "close")
        PrivateRedis().close()
        assert has_ended(server)
        assert not folder.exists()


@pytest.mark.parametrize("text", [b"abc", b"[1]", b"[" * 100_000, b'{"version": 1}'])
def test_a_key_of_something_else(redis_url, text):
    store = RedisStore(redis_url, patience_s=0.2)
    with redis.Redis.from_url(redis_url) as other:
        other.set("odd", text)
    with pytest.raises(StoreError, match="odd is no blob of disdel's"):
        store.open("odd")
    store.delete_prefix("odd")
    store.close()
