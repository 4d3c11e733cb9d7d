"""A store within requests and replies: what is brought, by whom, and how large it may be."""

import base64
import json

import pytest

from disdel.errors import ConnectionRefused, StoreError
from disdel.protocol.signing import Signer, check_request
from disdel.store.connecting import connect_store
from disdel.store.inline import InlineStore
from disdel.store.inline_host import InlineHost, check_size
from disdel.store.lending import Needs
from disdel.store.opening import open_store

NEEDS = Needs(
    reads=frozenset({"shard"}),
    writes=frozenset({"update"}),
    creates=frozenset({"state"}),
    looks=frozenset({("open", "wire_version"), ("open", "closed")}),
    lasts_s=60.0,
)


@pytest.fixture
def host():
    store = connect_store("inline:")
    assert isinstance(store, InlineHost)
    assert not store.lasting
    store.put("shard", bytes(range(256)))
    store.put("other", b"another's")
    store.set_field("open", "wire_version", "9")
    return store


def test_what_is_read_and_written_travels(host):
    assert host.missing(NEEDS) == set()
    activation = open_store(host.lend(NEEDS)["store"])
    assert isinstance(activation, InlineStore)
    assert activation.get("shard") == bytes(range(256))
    assert activation.open("other") is None
    assert activation.get_field("open", "wire_version") == "9"
    assert activation.get_field("open", "closed") is None
    assert activation.put_if_absent("state", b"initial")
    activation.put_stream("update", iter([b"up", b"date"]))
    reply = activation.bring({"outcome": "ok"})
    assert host.take(json.loads(json.dumps(reply)), NEEDS) == {"outcome": "ok"}
    assert host.get("update") == b"update"
    assert host.get("state") == b"initial"
    # Whoever comes next is given it.
    assert open_store(host.lend(NEEDS)["store"]).get("state") == b"initial"


def test_what_is_not_there_yet_is_waited_for(host):
    host.delete("shard")
    assert host.missing(NEEDS) == {"shard"}


def test_what_was_deleted_again_is_not_brought(host):
    activation = open_store(host.lend(NEEDS)["store"])
    activation.put("update", b"x")
    activation.delete("update")
    assert activation.bring({})["written"] == {}


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({"other": "eA=="}, "brings other, which was not asked for"),
        ({"shard": "eA=="}, "brings shard, which was not asked for"),
        ({"update": "no base64!"}, "brings update, which is no base64"),
        ({"update": 7}, "brings update, which is no base64"),
        ([], "no JSON object"),
        ({"state": "eA=="}, "began with different weights"),
    ],
    ids=str,
)
def test_what_an_endpoint_may_not_bring_is_refused(host, written, why):
    host.put("state", b"initial")
    with pytest.raises(StoreError, match=why):
        host.take({"written": written}, NEEDS)
    assert host.get("other") == b"another's"


def test_a_reply_of_the_largest_size_is_brought_and_no_larger(host):
    """At the limit with its signature, one byte below, one above."""
    signer = Signer(key=b"k" * 32)
    sent = signer.signed({"run": "r", "invocation": "i"}, lasts_s=60)
    sign = check_request(sent, lambda _run, _endpoint: b"k" * 32)
    for data in (b"", b"x" * 1000):
        activation = open_store(host.lend(NEEDS)["store"])
        activation.put("update", data)
        size = len(json.dumps(activation.bring({"outcome": "ok"}))) + 100
        assert len(json.dumps(sign(activation.bring({"outcome": "ok"})))) <= size
        for limit, fits in ((size - 1, False), (size, True), (size + 1, True)):
            activation._most_bytes = limit
            if fits:
                assert activation.bring({"outcome": "ok"})["written"]
                continue
            with pytest.raises(StoreError, match=f"has {size} bytes, and this platform takes"):
                activation.bring({"outcome": "ok"})


@pytest.mark.parametrize("text", ["x" * 100, "ü" * 100], ids=["ascii", "escaped"])
def test_a_request_of_the_largest_size_is_sent_and_no_larger(text):
    size = len(json.dumps({"text": text}).encode())
    check_size({"text": text}, size)
    check_size({"text": text}, size + 1)
    with pytest.raises(StoreError, match=f"has {size} bytes, and this platform takes {size - 1}"):
        check_size({"text": text}, size - 1)


@pytest.mark.parametrize(
    "carried",
    [
        "",
        "[]",
        "{}",
        '{"blobs": {"a": "?"}, "fields": [], "most_bytes": 1}',
        '{"blobs": 1, "fields": [], "most_bytes": 1}',
        '{"blobs": {}, "fields": [1], "most_bytes": 1}',
    ],
)
def test_what_carries_nothing_is_refused(carried):
    with pytest.raises(ConnectionRefused, match="carries no store that can be read"):
        open_store(f"inline:{carried}")


def test_blobs_take_a_third_more_than_they_are(host):
    host.put("shard", bytes(30_000))
    assert len(str(host.lend(NEEDS)["store"])) < len(base64.b64encode(bytes(30_000))) + 300
