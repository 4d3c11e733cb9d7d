"""Actions get a Redis user of their run's own, with least rights, and it goes with the run."""

import asyncio
import json

import pytest
import redis

from disdel.controller.runs.places import Place, remove_from
from disdel.controller.runs.run_users import RunUser
from disdel.errors import StoreError
from disdel.memory_agent.memory_warning import CHANNEL
from disdel.protocol.keys import RunKeys
from disdel.store.private_redis import PrivateRedis
from disdel.store.redis_store import RedisStore
from disdel.types.events import Noted, PlanMade, RoundDone
from tests.support import local_http
from tests.support.linear import linear_job


@pytest.fixture
def own():
    """A Redis of this test, and its administrator."""
    with PrivateRedis() as server:
        server.ready()
        with redis.Redis.from_url(server.url) as admin:
            yield server.url, admin


@pytest.fixture
def train(own, servers, data_dir, tmp_path):
    """Train with a Redis of one's own; what happens is told, with the run's id."""
    access, _ = servers

    def start(listen):
        run = []

        def heard(event):
            if isinstance(event, PlanMade):
                run.append(event.run)
            listen(event, *run)

        runs = tmp_path / "runs"
        return linear_job(access.apihost, access.auth, own[0], data_dir, runs, heard)

    start.access = access
    return start


def package(access, run):
    user, _, secret = access.auth.partition(":")
    url = f"{access.apihost}/api/v1/namespaces/_/packages/disdel-{run}"
    return local_http.get(url, auth=(user, secret)).json()


def test_what_a_package_holds_opens_the_keys_of_its_run_alone(own, train):
    url, admin = own
    admin.set("disdel:another:1:open", "x")
    seen, notes = [], []

    def look(event, run=None):
        if isinstance(event, Noted):
            notes.append(event.message)
        if isinstance(event, RoundDone) and not seen:
            told = package(train.access, run)
            assert url.partition("@")[0].rpartition(":")[2] not in json.dumps(told)
            [address] = [p["value"] for p in told["parameters"] if p["key"] == "store"]
            seen.append(admin.acl_users())
            with redis.Redis.from_url(address) as thief:
                assert thief.exists(f"disdel:{run}:x") == 0
                for forbidden in (
                    lambda: thief.get("disdel:another:1:open"),
                    thief.info,
                    thief.flushall,
                    lambda: thief.keys("*"),
                    lambda: thief.scan(0),
                    lambda: thief.publish("disdel:memory", "x"),
                    thief.acl_users,
                ):
                    with pytest.raises(redis.exceptions.NoPermissionError):
                        forbidden()
            admin.acl_log_reset()

    report, folder = train(look)
    assert report.status == "ok"
    assert seen == [["default", f"disdel-{folder.run}"]]
    # No action was refused anything.
    assert admin.acl_log() == []
    assert notes == []
    assert admin.acl_users() == ["default"]
    assert admin.keys("disdel:*") == [b"disdel:another:1:open"]


def test_a_redis_that_was_started_again_learns_of_the_user(own, train):
    """It keeps its users in memory alone, also where it keeps its keys on disk."""
    _, admin = own
    forgotten = []

    def forget(event, run=None):
        if isinstance(event, RoundDone) and not forgotten:
            forgotten.append(admin.acl_deluser(f"disdel-{run}"))
            admin.client_kill_filter(_type="normal", skipme=True)

    report, _ = train(forget)
    assert forgotten == [1]
    assert report.status == "ok"
    assert admin.acl_users() == ["default"]


def test_a_user_that_nobody_makes_again_is_not_waited_for_long(own, monkeypatch):
    url, _ = own
    monkeypatch.setattr("disdel.store.redis_store._UNKNOWN_USER_S", 0.2)
    user = RunUser(run="mine")
    controllers = RedisStore(url)
    controllers.make_user(user.name, user.rules)
    actions = RedisStore(user.url(url), patience_s=60)
    assert actions.get_field(RunKeys("mine").open, RunKeys.WIRE) is None
    controllers.remove_user(user.name)
    with pytest.raises(StoreError, match="invalid username"):
        actions.get_field(RunKeys("mine").open, RunKeys.WIRE)
    actions.close()
    controllers.close()


def test_what_an_activation_writes_while_its_run_is_removed_does_not_stay(own):
    """It may delete that no more, since its user is gone."""
    url, admin = own
    user = RunUser(run="mine")
    key = f"{RunKeys('mine').prefix}late"

    class Slow(RedisStore):
        def remove_user(self, name):
            actions.put(key, b"x" * 10)
            assert admin.keys("disdel:*")
            super().remove_user(name)

    controllers = Slow(url)
    controllers.make_user(user.name, user.rules)
    actions = RedisStore(user.url(url))
    place = Place(platform="openwhisk", address=None, store=url, redis_user=user.name)
    left, errors = asyncio.run(remove_from(place, "mine", None, controllers))
    assert left.is_empty
    assert errors == []
    assert admin.keys("disdel:*") == []
    actions.close()
    controllers.close()


def test_the_user_of_the_settings_does_not_travel(own):
    user = RunUser(run="mine", password="pw")
    for url, given in {
        "redis://host": "redis://disdel-mine:pw@host",
        "redis://:s3cret@host:1/2": "redis://disdel-mine:pw@host:1/2",
        "rediss://me:s3cret@[::1]:1/2?ssl_ca_certs=/a&password=s3cret&username=me": (
            "rediss://disdel-mine:pw@[::1]:1/2?ssl_ca_certs=%2Fa"
        ),
        "unix://me:s3cret@/run/redis.sock?db=1": "unix://disdel-mine:pw@/run/redis.sock?db=1",
    }.items():
        assert user.url(url) == given
    assert "pw" not in repr(user)
    assert not any("pw" in word for word in user.rules)


def test_the_keys_of_a_run_whose_name_is_a_pattern(own):
    url, _ = own
    user = RunUser(run="mi*e[1]", asks_for_memory=True)
    store = RedisStore(url)
    store.make_user(user.name, user.rules)
    actions = RedisStore(user.url(url))
    actions.set_field("disdel:mi*e[1]:open", "field", "value")
    with pytest.raises(StoreError, match="access"):
        actions.get_field("disdel:mine1:open", RunKeys.WIRE)
    with redis.Redis.from_url(user.url(url)) as client:
        assert client.publish(CHANNEL, "x") == 0
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.publish("another", "x")
    actions.close()
    store.remove_user(user.name)
    store.close()
