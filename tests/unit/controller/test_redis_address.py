"""Where a private Redis listens, so that the actions of the platform at hand reach it."""

import asyncio
import socket
import sys
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest
import redis

from disdel.controller import session
from disdel.errors import ConnectionRefused
from disdel.platforms.openwhisk import provider
from disdel.platforms.registry import chosen
from disdel.settings import Settings
from disdel.store.private_redis import PrivateRedis, bridge_address
from tests.support.fake_platform import CAPACITY, FakePlatform


def address(monkeypatch, apihost, *, on_loopback=False, bridge=None):
    capacity = replace(CAPACITY, on_loopback=on_loopback)
    monkeypatch.setattr(provider, "OpenWhisk", lambda access: FakePlatform({}, capacity))
    monkeypatch.setattr(session, "bridge_address", lambda: bridge)
    settings = Settings(apihost=apihost, auth=None if apihost is None else "a:b")
    return asyncio.run(session._redis_address(chosen(settings), settings))


@pytest.mark.parametrize("bridge", [None, "172.17.0.1"])
def test_the_embedded_platforms_containers_reach_loopback(monkeypatch, bridge):
    assert address(monkeypatch, None, bridge=bridge) == "127.0.0.1"
    here = "http://127.0.0.1:3233"
    assert address(monkeypatch, here, on_loopback=True, bridge=bridge) == "127.0.0.1"


def test_containers_of_an_openwhisk_on_this_machine_reach_its_bridge(monkeypatch):
    assert address(monkeypatch, "http://localhost:3233", bridge="172.17.0.1") == "172.17.0.1"


@pytest.mark.parametrize("apihost", ["http://127.0.0.1:3233", "https://whisk.example"])
def test_without_a_way_a_redis_is_asked_for_before_anything_starts(monkeypatch, apihost):
    bridge = None if "127" in apihost else "172.17.0.1"
    with pytest.raises(ConnectionRefused, match="--redis URL"):
        address(monkeypatch, apihost, bridge=bridge)


def test_the_bridge_is_that_of_a_container_engine(monkeypatch):
    def interfaces(*names):
        address = SimpleNamespace(family=socket.AF_INET, address="172.18.0.1")
        other = SimpleNamespace(family=socket.AF_INET6, address="fe80::1")
        return lambda: {name: [other, address] for name in names}

    monkeypatch.setattr(psutil, "net_if_addrs", interfaces("lo", "eth0"))
    assert bridge_address() is None
    monkeypatch.setattr(psutil, "net_if_addrs", interfaces("lo", "docker0"))
    assert bridge_address() == "172.18.0.1"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere loopback is one address")
def test_a_private_server_listens_there_alone_and_wants_its_password():
    with PrivateRedis("127.0.0.2") as server:
        server.ready()
        assert "@127.0.0.2:" in server.url
        port = int(server.url.rpartition(":")[2])
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
        with redis.Redis("127.0.0.2", port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port))
