"""A Redis that cannot hold a run is named before one starts, in one sentence."""

import contextlib
import subprocess

import pytest
import redis

from disdel.errors import ConnectionRefused, InsufficientMemory, StoreError
from disdel.store.examining import examine
from disdel.store.private_redis import PrivateRedis, find_redis_server
from disdel.store.redis_examination import RIGHTS, refusal
from disdel.store.redis_failures import advice, passes
from disdel.store.redis_store import RedisStore
from disdel.types.events import Noted, RoundDone, silent
from tests.support.linear import linear_job
from tests.support.ports import free_port
from tests.support.waiting import wait_until

# How far above its port a node of a cluster listens for the others.
CLUSTER_BUS = 10_000


@pytest.fixture
def own():
    """A Redis of this test, and its administrator."""
    with PrivateRedis() as server:
        server.ready()
        with redis.Redis.from_url(server.url) as admin:
            yield server.url, admin


@contextlib.contextmanager
def server_with(folder, *lines, mode=()):
    """A Redis with settings of its own; its URL."""
    port = free_port(CLUSTER_BUS)
    config = folder / f"{port}.conf"
    config.write_text("\n".join([f"port {port}", "bind 127.0.0.1", f"dir {folder}", *lines, ""]))
    command = [find_redis_server(), str(config), *mode]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            with redis.Redis(port=port) as client:
                wait_until(lambda: answers(client))
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.kill()


def answers(client):
    try:
        return client.ping()
    except redis.ConnectionError:
        return False


def refused(url):
    with pytest.raises(ConnectionRefused) as error:
        examine(RedisStore(url))
    said = str(error.value)
    assert "\n" not in said
    assert error.value.exit_code == 2
    return said


def test_a_replica_names_its_primary(tmp_path):
    with server_with(tmp_path) as primary:
        host, port = primary.rpartition("/")[2].split(":")
        with server_with(tmp_path, f"replicaof {host} {port}") as replica:
            assert f"name its primary, {host}:{port}" in refused(replica)


def test_a_node_of_a_cluster(tmp_path):
    with server_with(tmp_path, "cluster-enabled yes") as url:
        assert "is a node of a Redis Cluster" in refused(url)


def test_a_sentinel(tmp_path):
    with server_with(tmp_path, mode=["--sentinel"]) as url:
        assert "is a Sentinel" in refused(url)


@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        (["~disdel:*", "+@all", "-unlink"], "unlink"),
        (["~other:*", "+@all"], "key"),
        (["~disdel:*", "+@read", "+info", "+ping"], "set"),
    ],
)
def test_a_user_without_rights(own, rules, missing):
    url, admin = own
    admin.execute_command("ACL", "SETUSER", "poor", "on", ">pw", *rules)
    said = refused(f"redis://poor:pw@{place(url)}")
    assert "refuses what a run does there" in said
    assert missing in said.lower()


def place(url):
    return url.rpartition("@")[2]


def test_rights_that_are_enough(own, train_on):
    url, admin = own
    admin.execute_command("ACL", "SETUSER", "worker", "on", ">pw", *RIGHTS.split())
    notes = []
    report, _ = train_on(f"redis://worker:pw@{place(url)}", notes.append)
    assert report.status == "ok"
    [note] = [event.message for event in notes if isinstance(event, Noted)]
    assert "its user may make no others (ACL SETUSER). Actions get the user of --redis" in note
    assert admin.keys("disdel:*") == []
    store = RedisStore(f"redis://worker:pw@{place(url)}")
    admin.execute_command("ACL", "SETUSER", "worker", "-info")
    assert "does not tell its limits" in examine(store).warning("x", 10)
    store.close()


@pytest.mark.parametrize(
    ("user", "told"),
    [(":wrong@", "does not accept the user and password"), ("", "does not accept the user")],
)
def test_a_wrong_password(own, user, told):
    assert told in refused(f"redis://{user}{place(own[0])}")


def test_a_database_that_is_not_there(own):
    assert "does not have that database" in refused(f"{own[0]}/99")


def test_an_old_server():
    assert "has version 3.2.12, and a run needs 4.0" in refusal({"redis_version": "3.2.12"})
    assert refusal({"redis_version": "4.0.0"}) is None
    assert refusal({"redis_version": "255.255.255"}) is None
    assert refusal({"redis_version": "unstable"}) is None
    assert refusal({}) is None


def test_protected_mode():
    error = redis.ConnectionError("DENIED Redis is running in protected mode because …")
    assert not passes(error)
    assert "is in protected mode" in advice(error)


def test_a_full_server(own):
    url, admin = own
    admin.config_set("maxmemory", "500kb")
    assert "is full" in refused(url)


@pytest.fixture
def train_on(servers, data_dir, tmp_path):
    """Train an instant with a Redis of one's own, and a listener."""
    access, _ = servers

    def start(url, listener):
        runs = tmp_path / "runs"
        return linear_job(access.apihost, access.auth, url, data_dir, runs, listener)

    return start


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_policy_that_removes_keys_is_named(own, train_on, policy):
    url, admin = own
    admin.config_set("maxmemory", "200mb")
    admin.config_set("maxmemory-policy", policy)
    events = []
    train_on(url, events.append)
    [note] = [e.message for e in events if isinstance(e, Noted) and "maxmemory-policy" in e.message]
    assert f"removes keys when it is full (maxmemory-policy {policy})" in note
    assert "of 200 MB are free, and this run needs up to" in note
    assert "CONFIG SET maxmemory-policy noeviction" in note


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru"])
def test_a_server_without_room_is_refused_before_anything_starts(own, train_on, tmp_path, policy):
    url, admin = own
    admin.config_set("maxmemory", admin.info("memory")["used_memory"] + (2 << 20))
    admin.config_set("maxmemory-policy", policy)
    with pytest.raises(InsufficientMemory, match="MB of Redis, and it has 1 MB left"):
        train_on(url, silent)
    assert not (tmp_path / "runs").exists()


def test_a_run_whose_data_is_removed_says_so(own, train_on):
    url, admin = own

    def flush(event):
        if isinstance(event, RoundDone):
            admin.flushall()

    with pytest.raises(StoreError, match="has lost the data of this run") as lost:
        train_on(url, flush)
    assert "disdel train --resume" in str(lost.value)
