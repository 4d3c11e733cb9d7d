"""A platform and a Redis, each behind a proxy, and trainings of an instant on them."""

from urllib.parse import urlsplit

import pytest

from disdel.controller.invoking import activation_logs
from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.store.private_redis import PrivateRedis
from disdel.types.events import silent
from tests.support.fault_proxies import PlatformProxy, RedisProxy
from tests.support.linear import linear_job, outcome


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """A platform and a Redis that nothing happens to."""
    options = EmbeddedOptions(
        user_memory_mb=4096, state_dir=tmp_path_factory.mktemp("platform-state")
    )
    with start_embedded(options) as platform, PrivateRedis() as redis:
        redis.ready()
        yield platform.access, redis.url


@pytest.fixture
def api(servers):
    """The proxy in front of the platform."""
    address = urlsplit(servers[0].apihost)
    with PlatformProxy((address.hostname, address.port)) as proxy:
        yield proxy


@pytest.fixture
def store(servers):
    """The proxy in front of the Redis, for controller and actions alike."""
    with RedisProxy(servers[1]) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def whole(servers, data_dir, tmp_path_factory):
    """What the training comes to when nothing happens to it."""
    access, redis = servers
    runs = tmp_path_factory.mktemp("whole")
    report, _ = linear_job(access.apihost, access.auth, redis, data_dir, runs, silent)
    return outcome(report)


@pytest.fixture
def train(servers, api, store, tmp_path, data_dir, monkeypatch):
    """Train through the proxies: the report, the folder; `events` has what was told."""
    events = []
    # Logs of activations that got lost do not come.
    monkeypatch.setattr(activation_logs, "_OF_FAILED_S", 0.5)

    def start(listener=events.append, **changes):
        place = (api.url, servers[0].auth, store.url, data_dir, tmp_path / "runs")
        return linear_job(*place, listener, **changes)

    start.events = events
    return start
