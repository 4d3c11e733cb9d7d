"""The warning's way through a real Redis, signed and sent with the standard library alone."""

import json
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from dataclasses import asdict
from urllib.parse import quote

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from disdel.errors import UsageError
from disdel.memory_agent import memory_warning
from disdel.memory_agent.channel import MAX_BYTES
from disdel.memory_agent.check import CLOCK_SKEW_S, Checker, Ignored
from disdel.memory_agent.memory_warning import (
    CHANNEL,
    MemoryWarning,
    Teller,
    publish,
    sign,
    tell_agent,
)
from disdel.protocol.memory_grant import (
    ARGUMENT,
    LIFETIME_S,
    SECRET_ENV,
    find_secret,
    issue,
    key_of,
)
from tests.support.waiting import DEADLINE_S, wait_until

SECRET = b"a secret of enough bytes"
NOW_S = 1_800_000_000
GRANT = issue(SECRET, NOW_S)
WARNING = MemoryWarning(
    host="pod-1",
    action="/guest/disdel/train ☃",
    activation_id="a" * 32,
    used_bytes=1,
    limit_bytes=2,
    critical_bytes=3,
    time_s=NOW_S,
)
CHECKER = Checker(SECRET, clock=lambda: NOW_S)


@contextmanager
def listening(url):
    with redis.Redis.from_url(url) as client, client.pubsub() as channel:
        channel.subscribe(CHANNEL)
        assert channel.get_message(timeout=DEADLINE_S)["type"] == "subscribe"
        yield channel


def test_published_and_believed(redis_url):
    with listening(redis_url) as channel:
        assert publish(redis_url, WARNING.signed(GRANT)) == 1
        message = channel.get_message(timeout=DEADLINE_S)["data"]
    identity, warning = CHECKER.read(message)
    assert warning == WARNING
    assert GRANT.startswith(identity)


def test_nobody_listens(redis_url):
    assert publish(redis_url, b"x") == 0


def test_with_a_user_whose_password_needs_quoting(redis_url):
    password = "p@ss/w:rd é"
    with redis.Redis.from_url(redis_url) as admin:
        admin.acl_setuser(
            "proxy", enabled=True, passwords=[f"+{password}"], channels=["*"], commands=["+publish"]
        )
        try:
            host = redis_url.rpartition("@")[2]
            assert publish(f"redis://proxy:{quote(password, safe='')}@{host}/3", b"x") == 0
        finally:
            admin.acl_deluser("proxy")


def test_refused_without_a_word_of_the_password(redis_url):
    host = redis_url.rpartition("@")[2]
    with pytest.raises(OSError, match="Redis refused AUTH") as error:
        publish(f"redis://:hunter2@{host}", b"x")
    assert "hunter2" not in str(error.value)
    with pytest.raises(OSError, match="Redis refused PUBLISH: -NOAUTH"):
        publish(f"redis://{host}", b"x")


def test_nobody_answers():
    with pytest.raises(ConnectionRefusedError):
        publish("redis://127.0.0.1:1", b"x")


def test_a_server_that_says_nothing():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(TimeoutError),
    ):
        publish(f"redis://127.0.0.1:{silent.getsockname()[1]}", b"x", timeout_s=0.05)


def test_tls_is_spoken_where_it_is_asked_for():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(OSError, match="handshake"):
            publish(f"rediss://127.0.0.1:{server.getsockname()[1]}", b"x", timeout_s=0.05)
        connection, _ = server.accept()
        with closing(connection):
            # A TLS handshake record, and no Redis command.
            assert connection.recv(1) == b"\x16"


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://localhost", "", "redis://:pass:hunter2/@h"]
)
def test_other_urls(url):
    with pytest.raises(ValueError, match=r"redis:// or rediss://") as error:
        publish(url, b"x")
    assert "hunter2" not in str(error.value)


def test_in_the_name_of_the_activation(redis_url, monkeypatch):
    monkeypatch.setenv("__OW_ACTION_NAME", "/guest/a")
    monkeypatch.setenv("__OW_ACTIVATION_ID", "b" * 32)
    monkeypatch.setattr(socket, "gethostname", lambda: "pod-7")
    with listening(redis_url) as channel:
        arguments = {"store": redis_url, ARGUMENT: issue(SECRET)}
        tell_agent(arguments, used_bytes=10, limit_bytes=20, critical_bytes=15)
        _, warning = Checker(SECRET).read(channel.get_message(timeout=DEADLINE_S)["data"])
    told = asdict(warning)
    assert told.pop("time_s") > NOW_S - 10**9
    assert told == {
        "host": "pod-7",
        "action": "/guest/a",
        "activation_id": "b" * 32,
        "used_bytes": 10,
        "limit_bytes": 20,
        "critical_bytes": 15,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        None,
        [],
        {},
        {"store": "redis://127.0.0.1:1"},
        {"memory_grant": GRANT, "store": 7},
        {"memory_grant": GRANT, "store": "inline:{}"},
    ],
)
def test_without_redis_or_grant_there_is_nobody_to_tell(arguments):
    assert not tell_agent(arguments, used_bytes=10, limit_bytes=20, critical_bytes=15)


def test_a_warning_is_repeated_until_something_comes_of_it(redis_url, monkeypatch):
    monkeypatch.setattr(memory_warning, "PAUSES_S", (0.01,) * 1000)
    limits = [20]
    told = []
    arguments = {"store": redis_url, ARGUMENT: issue(SECRET)}
    with listening(redis_url) as channel:
        teller = Teller(arguments, lambda: limits[0], told.append)
        teller.warn(used_bytes=10, limit_bytes=20, critical_bytes=15)
        for _ in range(3):
            _, warning = Checker(SECRET).read(channel.get_message(timeout=DEADLINE_S)["data"])
            assert warning.limit_bytes == 20
        limits[0] = 40
        wait_until(lambda: not of(teller))
        # Nobody is told of what was over by then.
        limits[0] = 20
        teller.end()
        teller.warn(used_bytes=10, limit_bytes=20, critical_bytes=15)
        wait_until(lambda: not of(teller))
    assert told == []


def of(teller):
    """The threads that repeat what `teller` says."""
    return [
        thread
        for thread in threading.enumerate()
        if getattr(getattr(thread, "_target", None), "__self__", None) is teller
    ]


@pytest.mark.parametrize("grant", ["", "a:b", "a:b:hunter2", "a:b:c:d"])
def test_what_is_no_grant_is_told_without_its_key(grant):
    with pytest.raises(ValueError, match="memory_grant is no grant") as error:
        WARNING.signed(grant)
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None


def signed(body, grant=GRANT):
    identity, expires_s, key = grant.split(":")
    return f"2 {identity} {expires_s} {sign(bytes.fromhex(key), body)} ".encode() + body


def changed(**fields):
    return signed(json.dumps({**asdict(WARNING), **fields}).encode())


OF_ANOTHER = WARNING.signed(issue(b"another secret of theirs", NOW_S))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "not a memory warning"),
        (b"hello", "not a memory warning"),
        (b"\xff" * 100, "not a memory warning"),
        (b"[" * 2000, "not a memory warning"),
        (b'{"version": 1, "host": "pod-1"}', "not a signed warning of version 2"),
        (b"3 what comes later", "not a signed warning of version 2"),
        (b"x" * (MAX_BYTES + 1), "larger than 4096 bytes"),
        (OF_ANOTHER, "its signature is wrong"),
        (WARNING.signed(GRANT)[:-1] + b" }", "its signature is wrong"),
        (WARNING.signed(GRANT).replace(b"pod-1", b"pod-2"), "its signature is wrong"),
        (signed(b'{"a": ' * 500 + b"}"), "signed, but not the fields"),
        (signed(b"{" + b"[" * 3000 + b"}"), "signed, but not the fields"),
        (signed(b"{}"), "signed, but not the fields"),
        (changed(limit_bytes="2"), "signed, but not the fields"),
        (changed(limit_bytes=10**400), "signed, but a number"),
        (changed(limit_bytes=1.5), "signed, but not the fields"),
        (changed(limit_bytes=float("inf")), "signed, but not the fields"),
        (changed(limit_bytes=True), "signed, but a number"),
        (changed(limit_bytes=0), "signed, but a number"),
        (changed(critical_bytes=-1), "signed, but a number"),
        (changed(used_bytes=1 << 60), "signed, but a number"),
        (changed(time_s=10**300), "signed, but a number"),
        (changed(host="pod-1\nforged"), "signed, but a number or a name"),
        (changed(host=""), "signed, but a number or a name"),
        (changed(host="x" * 254), "signed, but a number or a name"),
        (changed(activation_id="x"), "signed, but a number or a name"),
        (changed(action="x" * 1025), "signed, but a number or a name"),
        (changed(time_s=NOW_S - CLOCK_SKEW_S - 1), "more than 120 s old"),
        (changed(time_s=NOW_S + CLOCK_SKEW_S + 1), "more than 120 s old"),
    ],
)
def test_what_is_not_believed(message, why):
    with pytest.raises(Ignored, match=why):
        CHECKER.read(message)


def test_a_grant_is_good_for_its_time():
    old_s = NOW_S - LIFETIME_S - CLOCK_SKEW_S
    with pytest.raises(Ignored, match="its grant has expired"):
        CHECKER.read(WARNING.signed(issue(SECRET, old_s - 1)))
    assert CHECKER.read(WARNING.signed(issue(SECRET, old_s + 1)))[1] == WARNING
    # Nobody can have one for ever, the controller included.
    identity, expires_s = "b" * 32, NOW_S + 10 * LIFETIME_S
    eternal = f"{identity}:{expires_s}:{key_of(SECRET, identity, expires_s).hex()}"
    with pytest.raises(Ignored, match="its grant has expired"):
        CHECKER.read(WARNING.signed(eternal))


@given(st.binary(max_size=200) | st.text(alphabet='2 a0{}[]":,1e', max_size=200).map(str.encode))
def test_no_message_is_more_than_ignored(message):
    for text in (message, signed(message), signed(b"{" + message + b"}")):
        with pytest.raises(Ignored):
            CHECKER.read(text)


def test_fields_of_later_releases_are_passed_over():
    assert CHECKER.read(changed(node=7))[1] == WARNING


def test_the_secret(tmp_path):
    assert find_secret(None, {}) is None
    assert find_secret(None, {SECRET_ENV: f" {SECRET.decode()}\n"}) == SECRET
    (tmp_path / "secret").write_text(SECRET.decode() + "\n")
    assert find_secret(tmp_path / "secret", {}) == SECRET
    for file, environ, why in (
        (None, {SECRET_ENV: "hunter2"}, "has 7 bytes and must have at least 16: make one with"),
        (tmp_path / "none", {}, "cannot be read"),
        (tmp_path, {}, "cannot be read"),
    ):
        with pytest.raises(UsageError, match=why) as error:
            find_secret(file, environ)
        assert "hunter2" not in str(error.value)


def test_needs_nothing_but_the_standard_library(tmp_path):
    shutil.copy(memory_warning.__file__, tmp_path)
    code = (
        "import sys; sys.path.insert(0, '.'); import memory_warning; "
        "print(any(name.startswith(('disdel', 'redis')) for name in sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["False"]
