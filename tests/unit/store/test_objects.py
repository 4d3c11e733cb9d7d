"""The object store against a server that fails: what was seen of S3 and what calls itself so."""

import contextlib
import time
from email.utils import formatdate

import pytest

from disdel.errors import ConnectionRefused, StoreError, StoreLost
from disdel.store.connecting import connect_store
from disdel.store.examining import examine
from disdel.store.lending import Needs
from disdel.store.objects.lent import LentStore
from disdel.store.objects.presigning import Credentials, Signer
from disdel.store.objects.s3 import S3Store, place_of
from disdel.store.opening import open_store
from tests.support.object_stub import cuts, cuts_after, object_stub, refuses

KEYS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "a-secret"}


@pytest.fixture
def server():
    with object_stub() as stub:
        yield stub


@pytest.fixture
def store(server):
    opened = S3Store(f"s3://bucket/in/it?endpoint={server.url}", environ=KEYS)
    yield opened
    opened.close()


def lent(store, **needs):
    return store.lend(Needs(**{"lasts_s": 60.0, **needs}))["store"]


def test_a_url_is_signed_as_the_documentation_of_s3_has_it():
    signer = Signer(
        credentials=Credentials(
            key_id="AKIAIOSFODNN7EXAMPLE", secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
        ),
        region="us-east-1",
        host="examplebucket.s3.amazonaws.com",
        time_s=1369353600,
        expires_s=86400,
    )
    assert signer.signature("GET", "/test.txt") == (
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


@pytest.mark.parametrize(
    "fault",
    [
        cuts,
        refuses(409, "ConditionalRequestConflict"),
        refuses(429, "SlowDown"),
        refuses(500, "InternalError"),
        refuses(503, "SlowDown"),
    ],
)
@pytest.mark.parametrize("deed", ["put", "create", "claim", "get"])
def test_what_passes_is_tried_again(server, store, fault, deed):
    if deed == "get":
        server.objects["/bucket/in/it/key"] = b"data"
    server.faults += [fault, fault]
    match deed:
        case "put":
            store.put("key", b"data")
        case "create":
            assert store.put_if_absent("key", b"data")
        case "claim":
            assert store.claim_field("key", "field", "data") == "data"
    found = store.get_field("key", "field") if deed == "claim" else bytes(store.get("key")).decode()
    assert found == "data"


@pytest.mark.parametrize("status", [400, 403, 501])
def test_what_does_not_pass_is_told_at_once(server, store, status):
    server.faults.append(refuses(status, "SomeCode"))
    with pytest.raises(StoreError, match=rf"refuses to put key: HTTP {status} SomeCode as told"):
        store.put("key", b"data")
    assert len(server.asked) == 1


def test_an_own_write_whose_answer_got_lost_is_known_by_its_content(server, store):
    server.faults.append(cuts_after)
    assert store.put_if_absent("key", b"mine")
    server.faults.append(cuts)
    assert not store.put_if_absent("key", b"another")
    server.faults.append(cuts_after)
    assert store.claim_field("claims", "0", "me") == "me"
    # Of two that write the same, one was first all the same where nothing got lost.
    assert not store.put_if_absent("key", b"mine")


def test_nothing_but_the_data_is_sent(server, store):
    """No checksums in trailers, no framing, no type that would have to be signed."""
    store.put("key", b"data")
    store.put_stream("stream", (b"a" * 10, b"b" * 10))
    assert server.objects == {
        "/bucket/in/it/key": b"data",
        "/bucket/in/it/stream": b"a" * 10 + b"b" * 10,
    }
    for _, _, headers in server.asked:
        assert headers.keys() == {"Host", "Accept-Encoding", "Content-Length"}


def test_what_is_signed_is_what_is_sent_and_no_listing_decides(server, store):
    """A type or a condition that is sent and not signed, or the other way about, is refused."""
    key = {"reads": frozenset({"key"}), "writes": frozenset({"key"}), "creates": frozenset({"new"})}
    with contextlib.closing(open_store(lent(store, **key), patience_s=1.0)) as activation:
        for user in (store, activation):
            user.put("key", b"data")
            user.put_stream("key", [b"a" * 10])
            user.put_if_absent("new", b"data")
            assert user.get("key") == b"a" * 10
            user.wait_for("key", time.monotonic() + 60)
    store.set_field("hash", "field", "text")
    assert store.claim_field("hash", "field", "other") == "text"
    assert store.get_field("hash", "field") == "text"
    store.delete("key")
    assert store.open("key") is None
    for (_, _, headers), query in zip(server.asked, server.queries, strict=True):
        sent = {name.lower() for name in headers}
        assert set(query["X-Amz-SignedHeaders"].split(";")) == sent - {
            *("accept-encoding", "content-length", "range")
        }
        assert "list-type" not in query


def test_a_stream_that_does_not_fit_memory_is_sent_again_from_its_beginning(server, store):
    piece = bytes(range(256)) * 4096
    server.faults += [refuses(503), cuts]
    store.put_stream("key", (piece for _ in range(6)))
    assert server.objects["/bucket/in/it/key"] == piece * 6


def test_the_servers_clock_is_learnt(server, store, monkeypatch):
    server.objects["/bucket/in/it/key"] = b"data"
    ahead = formatdate(time.time() + 7200, usegmt=True)
    server.faults.append(refuses(403, "RequestTimeTooSkewed", Date=ahead))
    monkeypatch.setattr("tests.support.object_stub.Handler.date_time_string", lambda _: ahead)
    assert store.get("key") == b"data"
    assert abs(store._ahead_s - 7200) < 10
    # Of which what is lent has the benefit too.
    day = time.strftime("%Y%m%dT%H", time.gmtime(time.time() + 7200))
    assert f"X-Amz-Date={day}" in lent(store)
    server.faults.append(refuses(403, "AccessDenied", Date=ahead))
    with pytest.raises(StoreError, match="AccessDenied"):
        store.get("key")


def test_a_hundred_polls_take_one_connection(server, store):
    for _ in range(100):
        assert store.open("nothing") is None
        assert store.get_field("nothing", "field") is None
    assert server.connections == 1


def test_connections_that_the_server_has_closed_meanwhile_are_made_again(server, store):
    store.put("key", b"data")
    server.faults.append(cuts)
    assert store.get("key") == b"data"
    assert server.connections == 2


def test_an_answer_without_end_is_not_read_to_its_end(server, store):
    told = []

    def endless(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 30))
        handler.end_headers()
        with contextlib.suppress(OSError):
            for sent in range(1 << 10):
                told.append(sent)
                handler.wfile.write(bytes(1 << 20))
        return handler.cut()

    server.faults.append(endless)
    with pytest.raises(StoreError, match="more than 4 MB where a few lines were asked for"):
        store.get_field("key", "field")
    server.objects["/bucket/in/it/key"] = bytes(100_000)
    blob = store.existing("key")
    server.faults.append(endless)
    with pytest.raises(StoreError, match="answers with 1073741824 bytes where 50000 were asked"):
        blob.read_into(memoryview(bytearray(50_000)), 20_000)
    # Most was never sent.
    assert len(told) < 100


def test_a_server_that_never_answers_is_given_up(server, monkeypatch):
    monkeypatch.setattr("disdel.store.objects.exchange._TIMEOUT_S", 0.1)
    store = S3Store(f"s3://bucket?endpoint={server.url}", environ=KEYS, patience_s=0.3)
    server.faults += [lambda handler: bool(handler.rfile.read(1)) or handler.cut()] * 20
    with pytest.raises(StoreLost, match=r"has failed for . s: timed out"):
        store.get("key")
    store.close()


def test_a_blob_that_is_written_again_is_never_read_as_a_mixture(server, store):
    def changed(handler):
        return "If-Match" in handler.headers and handler.answer(412)

    store.put("key", b"a" * 100_000)
    blob = store.existing("key")
    store.put("key", b"b" * 100_000)
    server.faults.append(changed)
    with pytest.raises(StoreError, match="written again while it was read"):
        blob.read_into(memoryview(bytearray(100_000)))


def test_lent_is_what_was_asked_for(server, store):
    server.objects["/bucket/in/it/shard"] = b"samples"
    address = lent(
        store,
        reads={"shard"},
        writes={"update"},
        creates={"state"},
        looks={("open", "wire_version")},
        fields={("progress", "3"), ("claims", "abc")},
    )
    assert "a-secret" not in address
    theirs = open_store(address)
    assert isinstance(theirs, LentStore)
    assert "X-Amz" not in theirs.address
    assert theirs.get("shard") == b"samples"
    theirs.put("update", b"x")
    assert theirs.put_if_absent("state", b"x")
    assert not theirs.put_if_absent("state", b"y")
    theirs.set_field("progress", "3", "training")
    assert theirs.fields("progress") == {"3": "training"}
    assert theirs.claim_field("claims", "abc", "me") == "me"
    assert theirs.get_field("open", "wire_version") is None
    theirs.delete_fields("progress")
    assert store.get_field("progress", "3") is None
    theirs.delete("update")
    for forbidden in (
        lambda: theirs.put("shard", b"y"),
        lambda: theirs.put("state", b"y"),
        lambda: theirs.get("other"),
        lambda: theirs.delete("shard"),
        lambda: theirs.set_field("open", "wire_version", "9"),
        lambda: theirs.set_field("progress", "4", "training"),
        lambda: theirs.delete_prefix(""),
        lambda: theirs.renew_prefix(""),
    ):
        asked = len(server.asked)
        with pytest.raises(StoreError, match="lent"):
            forbidden()
        assert len(server.asked) == asked
    theirs.close()


def test_what_has_expired_is_lent_anew_by_whoever_asks_again(server, store):
    theirs = open_store(lent(store, reads={"shard"}))
    server.faults.append(refuses(403, "AccessDenied"))
    # One of the errors after which an activation is run again.
    with pytest.raises(StoreLost, match="has expired, or its lender's keys have"):
        theirs.get("shard")
    theirs.close()


@pytest.mark.parametrize("left_s", [-10, 30])
def test_nothing_is_lent_for_longer_than_the_keys_hold(server, left_s):
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + left_s))
    environ = {**KEYS, "AWS_SESSION_TOKEN": "t/+=", "AWS_CREDENTIAL_EXPIRATION": ends}
    store = S3Store(f"s3://bucket?endpoint={server.url}", environ=environ)
    with pytest.raises(StoreLost, match=r"end in .* s, and an activation may take 60 s: renew"):
        lent(store)
    if left_s > 0:
        assert "X-Amz-Security-Token=t%2F%2B%3D" in lent(store, lasts_s=10.0)


def test_a_server_without_conditional_writes_is_refused(server, store, monkeypatch):
    monkeypatch.setattr(S3Store, "_listed", lambda *_: iter(()))
    monkeypatch.setattr(S3Store, "delete_prefix", lambda *_: 0)
    server.conditional = False
    with pytest.raises(ConnectionRefused, match="If-None-Match"):
        store.try_out()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://", "is no object store"),
        ("s3://B", "is no object store"),
        ("s3://bucket?endpoint=host:9000", "is no object store"),
        ("s3://bucket?endpoint=http://k:s@host", "is no object store"),
        ("s3://bucket?style=odd", "is no object store"),
        ("s3://bucket#x", "is no object store"),
        ("s3://KEY:hunter2@bucket", "keys of an object store do not belong in its address"),
        ("s3://bucket?access_key=hunter2", "has no option access_key"),
        ("s3://bucket?region=a&region=b", "says an option twice"),
    ],
)
def test_addresses_that_are_none(url, why):
    with pytest.raises(ConnectionRefused, match=why) as caught:
        place_of(url, {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("s3://bucket", "https://bucket.s3.us-east-1.amazonaws.com/"),
        ("s3://bucket/a/b/?region=eu-west-3", "https://bucket.s3.eu-west-3.amazonaws.com/a/b/"),
        ("s3://my.bucket/a b", "https://s3.us-east-1.amazonaws.com/my.bucket/a%20b/"),
        ("s3://bucket?style=path", "https://s3.us-east-1.amazonaws.com/bucket/"),
        ("s3://bucket/x?endpoint=http://h:9000", "http://h:9000/bucket/x/"),
        ("s3://bucket?endpoint=https://h&style=virtual", "https://bucket.h/"),
    ],
)
def test_where_objects_are(url, base):
    assert place_of(url, {}).base == base


def test_without_keys(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "botocore.session", None)
    environ = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    with pytest.raises(ConnectionRefused, match=r"there are no keys .*AWS_ACCESS_KEY_ID"):
        S3Store("s3://bucket", environ=environ)
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id=A\naws_secret_access_key=S\n"
        "[other]\naws_access_key_id=B\naws_secret_access_key=S\naws_session_token=T\n"
    )
    assert "=A%2F" in S3Store("s3://bucket", environ=environ).target("get", "x")
    assert "=B%2F" in S3Store("s3://bucket?profile=other", environ=environ).target("get", "x")
    with pytest.raises(ConnectionRefused, match="no keys of the profile third"):
        S3Store("s3://bucket?profile=third", environ=environ)
    (tmp_path / "credentials").write_text("no section, hunter2")
    with pytest.raises(ConnectionRefused, match="cannot be read") as caught:
        S3Store("s3://bucket", environ=environ)
    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_not_there_is_a_wrong_address():
    store = S3Store("s3://bucket?endpoint=http://127.0.0.1:1", patience_s=0, environ=KEYS)
    with pytest.raises(ConnectionRefused, match="check --store"):
        examine(store)


def test_inline_takes_nothing_behind_it():
    with pytest.raises(ConnectionRefused, match="nothing behind it"):
        connect_store("inline:x")
