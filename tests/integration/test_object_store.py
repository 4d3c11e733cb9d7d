"""An object store on a real server that checks signatures, expiry and conditions."""

import time

import pytest

from disdel.errors import ConnectionRefused, StoreLost
from disdel.protocol.keys import KEYS as EVERY_RUN
from disdel.protocol.keys import RunKeys
from disdel.store.examining import examine
from disdel.store.lending import Needs
from disdel.store.objects.s3 import S3Store
from disdel.store.opening import open_store
from disdel.worker.cancellation import Cancelled
from disdel.worker.run_store import RunStore
from tests.support.object_servers import KEYS, address

RUN = RunKeys("swift-river-1a2b")
MARK = (RUN.open, RunKeys.WIRE)


@pytest.fixture
def store(seaweed_endpoint):
    opened = S3Store(address(seaweed_endpoint), environ=KEYS)
    opened.set_field(*MARK, "9")
    yield opened
    opened.delete_prefix("")
    opened.close()


@pytest.fixture
def activation(store):
    needs = Needs(
        reads=frozenset({RUN.state(0)}),
        writes=frozenset({RUN.state(1)}),
        looks=frozenset({MARK}),
        fields=frozenset({(RUN.claims, "call")}),
        lasts_s=60.0,
    )
    opened = open_store(store.lend(needs)["store"])
    yield opened
    opened.close()


def test_it_is_fit_for_runs(store):
    store.try_out()
    assert examine(store).warning("x", 1) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "403 SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "403 InvalidAccessKeyId"),
    ],
)
def test_keys_that_are_none(seaweed_endpoint, change, why):
    store = S3Store(address(seaweed_endpoint), environ={**KEYS, **change})
    with pytest.raises(ConnectionRefused, match=f"{why}.* A run needs s3:GetObject") as caught:
        store.try_out()
    assert "wrong" not in str(caught.value)
    store.close()


def test_a_bucket_that_is_not_there(moto_endpoint):
    url = address(moto_endpoint).replace("s3://disdel-tests", "s3://another-bucket")
    store = S3Store(url, environ=KEYS)
    with pytest.raises(ConnectionRefused, match="a bucket that is there"):
        store.try_out()
    store.close()


def test_an_activation_does_with_what_it_is_lent_what_it_does_with_keys(store, activation):
    run_store = RunStore(activation, RUN.run)
    assert run_store.claim("call", "a1") is None
    assert run_store.claim("call", "a2") == "a1"
    store.put(RUN.state(0), bytes(range(256)) * 300)
    assert run_store.get(RUN.state(0)) == bytes(range(256)) * 300
    run_store.put_stream(RUN.state(1), iter([b"a" * 70_000, b"b"]))
    run_store.ended("call", "a1")
    assert store.get_field(RUN.claims, "call") == "a1 ended"
    assert store.get(RUN.state(1)) == b"a" * 70_000 + b"b"


def test_what_a_late_activation_writes_is_gone(store, activation):
    run_store = RunStore(activation, RUN.run)
    store.delete_prefix(RUN.prefix)
    with pytest.raises(Cancelled, match="state:1 was not kept"):
        run_store.put(RUN.state(1), b"late")
    with pytest.raises(Cancelled):
        run_store.ended("call", "a1")
    assert store.delete_prefix("") == 0


def test_a_signature_opens_no_other_object(store, activation):
    store.put(RUN.state(0), b"mine")
    store.put(RUN.state(2), b"another's")
    signed = activation._signatures
    for name, deed, of in (
        (RUN.state(2), "get", signed[RUN.state(0)]["get"]),
        (RUN.state(0), "put", signed[RUN.state(0)]["get"]),
        (RUN.state(2), "put", signed[RUN.state(1)]["put"]),
        (RUN.state(1), "put", "0" * 64),
    ):
        activation._signatures = {name: {deed: of}}
        with pytest.raises(StoreLost, match="HTTP 403 SignatureDoesNotMatch"):
            activation.get(name) if deed == "get" else activation.put(name, b"x")
    assert store.get(RUN.state(0)) == b"mine"
    assert store.get(RUN.state(2)) == b"another's"


def test_what_is_lent_expires(store):
    store.put(RUN.state(0), b"x")
    store._ahead_s = -3600.0
    lent = open_store(store.lend(Needs(reads=frozenset({RUN.state(0)}), lasts_s=60.0))["store"])
    with pytest.raises(StoreLost, match=r"403 .*what it was lent has expired"):
        lent.get(RUN.state(0))
    lent.close()


@pytest.mark.parametrize("behind_s", [7200, -7200])
def test_a_clock_that_is_wrong_does_no_harm(store, monkeypatch, behind_s):
    store.put("state", b"x")
    now_s = time.time
    monkeypatch.setattr("disdel.store.objects.s3.time.time", lambda: now_s() - behind_s)
    assert store.get("state") == b"x"
    lent = open_store(store.lend(Needs(reads=frozenset({"state"}), lasts_s=60.0))["store"])
    assert lent.get("state") == b"x"
    lent.close()


def test_runs_of_which_nothing_was_written_for_long_are_removed(store):
    store.put(RUN.state(0), b"x")
    store.put("of somebody else", b"x")
    assert store.remove_expired(EVERY_RUN) == 0
    store.lifetime_s = -1
    assert store.remove_expired(EVERY_RUN) == 2
    assert store.get("of somebody else") == b"x"


def test_more_objects_than_a_page_of_a_listing_has(store):
    for n in range(1005):
        store.set_field(RUN.progress, str(n), "x")
    assert len({name for name, _ in store._listed(RUN.prefix)}) == 1006
    assert store.delete_prefix(RUN.prefix) == 1006
