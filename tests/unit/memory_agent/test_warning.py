"""The warning's way through a real Redis, sent with the standard library alone."""

import json
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import redis

from disdel.errors import UsageError
from disdel.memory_agent import memory_warning
from disdel.memory_agent.agent import read_warning
from disdel.memory_agent.memory_warning import CHANNEL, MemoryWarning, publish, tell_agent

WARNING = MemoryWarning(
    host="pod-1",
    action="/guest/disdel/train ☃",
    activation_id="a" * 32,
    used_bytes=1,
    limit_bytes=2,
    critical_bytes=3,
)


@contextmanager
def listening(url):
    with redis.Redis.from_url(url) as client, client.pubsub() as channel:
        channel.subscribe(CHANNEL)
        assert channel.get_message(timeout=10)["type"] == "subscribe"
        yield channel


def test_published_and_read_back(redis_url):
    with listening(redis_url) as channel:
        assert publish(redis_url, WARNING) == 1
        message = channel.get_message(timeout=10)["data"]
    assert read_warning(message) == WARNING
    assert json.loads(message)["version"] == 1


def test_nobody_listens(redis_url):
    assert publish(redis_url, WARNING) == 0


def test_with_a_user_whose_password_needs_quoting(redis_url):
    password = "p@ss/w:rd é"
    with redis.Redis.from_url(redis_url) as admin:
        admin.acl_setuser(
            "proxy", enabled=True, passwords=[f"+{password}"], channels=["*"], commands=["+publish"]
        )
        try:
            host = redis_url.rpartition("@")[2]
            assert publish(f"redis://proxy:{quote(password, safe='')}@{host}/3", WARNING) == 0
        finally:
            admin.acl_deluser("proxy")


def test_refused_without_a_word_of_the_password(redis_url):
    host = redis_url.rpartition("@")[2]
    with pytest.raises(OSError, match="Redis refused AUTH") as error:
        publish(f"redis://:hunter2@{host}", WARNING)
    assert "hunter2" not in str(error.value)
    with pytest.raises(OSError, match="Redis refused PUBLISH: -NOAUTH"):
        publish(f"redis://{host}", WARNING)


def test_nobody_answers():
    with pytest.raises(ConnectionRefusedError):
        publish("redis://127.0.0.1:1", WARNING)


def test_a_server_that_says_nothing():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(TimeoutError),
    ):
        publish(f"redis://127.0.0.1:{silent.getsockname()[1]}", WARNING, timeout_s=0.05)


def test_tls_is_spoken_where_it_is_asked_for():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(OSError, match="handshake"):
            publish(f"rediss://127.0.0.1:{server.getsockname()[1]}", WARNING, timeout_s=0.05)
        connection, _ = server.accept()
        with connection:
            # A TLS handshake record, and no Redis command.
            assert connection.recv(1) == b"\x16"


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://localhost", "", "redis://:pass:hunter2/@h"]
)
def test_other_urls(url):
    with pytest.raises(ValueError, match=r"redis:// or rediss://") as error:
        publish(url, WARNING)
    assert "hunter2" not in str(error.value)


def test_in_the_name_of_the_activation(redis_url, monkeypatch):
    monkeypatch.setenv("__OW_ACTION_NAME", "/guest/a")
    monkeypatch.setenv("__OW_ACTIVATION_ID", "b" * 32)
    with listening(redis_url) as channel:
        tell_agent(redis_url, used_bytes=10, limit_bytes=20, critical_bytes=15)
        warning = read_warning(channel.get_message(timeout=10)["data"])
    assert warning == MemoryWarning(
        host=socket.gethostname(),
        action="/guest/a",
        activation_id="b" * 32,
        used_bytes=10,
        limit_bytes=20,
        critical_bytes=15,
    )


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "version 1"),
        (b'{"version": 2}', "version 1"),
        (b'{"version": 1}', 'missing value for field "host"'),
        (WARNING.to_json().replace('"limit_bytes": 2', '"limit_bytes": "2"'), "limit_bytes"),
    ],
)
def test_what_is_no_warning(message, why):
    with pytest.raises(UsageError, match=why):
        read_warning(message)


def test_fields_of_later_releases_are_ignored():
    assert read_warning(WARNING.to_json().replace("{", '{"node": 7, ', 1)) == WARNING


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
