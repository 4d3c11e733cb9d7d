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
from disdel.errors import UsageError
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
    return asyncio.run(session._redis_address(chosen(settings), settings))[0]


@pytest.mark.parametrize("bridge", [None, "172.17.0.1"])
def test_the_embedded_platforms_containers_reach_loopback(monkeypatch, bridge):
    assert address(monkeypatch, None, bridge=bridge) == "127.0.0.1"
    here = "http://127.0.0.1:3233"
    assert address(monkeypatch, here, on_loopback=True, bridge=bridge) == "127.0.0.1"


def test_containers_of_an_openwhisk_on_this_machine_reach_its_bridge(monkeypatch):
    assert address(monkeypatch, "http://localhost:3233", bridge="172.17.0.1") == "172.17.0.1"


@pytest.mark.parametrize("apihost", ["http://127.0.0.1:3233", "https://whisk.example"])
def test_without_a_way_there_is_none(monkeypatch, apihost):
    bridge = None if "127" in apihost else "172.17.0.1"
    assert address(monkeypatch, apihost, bridge=bridge) is None


FABRIC = """
[endpoints.near]
platform = "embedded"

[endpoints.far]
platform = "http"
url = "https://f.example"

[endpoints.cloud]
platform = "lambda"
region = "eu-central-1"
"""


def test_of_a_fabric_those_are_named_that_cannot_reach_one(tmp_path):
    file = tmp_path / "fabric.toml"
    file.write_text(FABRIC)
    settings = Settings(fabric=file)
    found, why = asyncio.run(session._redis_address(chosen(settings), settings))
    assert found is None
    assert why == "actions of far and cloud cannot reach a private Redis on this machine"
    file.write_text(FABRIC.partition("[endpoints.far]")[0])
    assert asyncio.run(session._redis_address(chosen(settings), settings)) == ("127.0.0.1", "")


def test_an_endpoints_own_address_of_a_private_redis_is_refused(tmp_path):
    file = tmp_path / "fabric.toml"
    file.write_text(f'{FABRIC}store = "redis://10.0.0.1"\n')
    settings = Settings(fabric=file)
    with pytest.raises(UsageError, match=r"endpoint cloud in .*name the run's with --redis URL"):
        asyncio.run(session._redis_address(chosen(settings), settings))


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
