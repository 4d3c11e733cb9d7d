"""Messages as they come from a real Redis, and from one that fails."""

import contextlib
import itertools
import os
import socket
import threading

import pytest
import redis

from disdel.errors import ConnectionRefused
from disdel.memory_agent.channel import MAX_BYTES, messages
from disdel.memory_agent.memory_warning import CHANNEL
from tests.support.waiting import wait_until


def test_no_redis_to_begin_with():
    with pytest.raises(ConnectionRefused, match="no Redis to listen on"):
        next(messages("redis://127.0.0.1:1", print))
    with pytest.raises(ConnectionRefused, match="not a Redis URL"):
        next(messages("localhost", print))


@contextlib.contextmanager
def heard_from(redis_url, told, until=b"end"):
    """A list that gets what is published inside, up to `until`."""
    heard = []

    def listen():
        for message in messages(redis_url, told.append):
            heard.append(message)
            if message == until:
                return

    listener = threading.Thread(target=listen)
    listener.start()
    yield heard
    listener.join()


def test_a_lost_connection_is_made_again(redis_url, monkeypatch):
    monkeypatch.setattr("disdel.memory_agent.channel._RECONNECT_S", 0.01)
    told = []
    with redis.Redis.from_url(redis_url) as admin, heard_from(redis_url, told) as heard:
        wait_until(lambda: admin.publish(CHANNEL, "one"))
        wait_until(lambda: heard == [b"one"])
        admin.client_kill_filter(_type="pubsub")
        wait_until(lambda: admin.publish(CHANNEL, "end"))
    assert heard == [b"one", b"end"]
    assert told[0] == f"listening on {CHANNEL}"
    assert told[1].startswith("lost Redis, trying again")
    assert told[-1] == told[0]


def test_a_silent_redis_is_asked_whether_it_lives(redis_url, monkeypatch):
    monkeypatch.setattr("disdel.memory_agent.channel._POLL_S", 0.5)
    told = []
    with redis.Redis.from_url(redis_url) as admin, heard_from(redis_url, told):
        wait_until(lambda: "ping" in [one["cmd"] for one in admin.client_list(_type="pubsub")])
        admin.publish(CHANNEL, "end")
    assert told == [f"listening on {CHANNEL}"]


def test_a_redis_that_no_longer_answers_is_lost(monkeypatch):
    monkeypatch.setattr("disdel.memory_agent.channel._POLL_S", 0.5)
    monkeypatch.setattr("disdel.memory_agent.channel._RECONNECT_S", 0.01)
    told = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            subscribed = b"*3\r\n$9\r\nsubscribe\r\n$13\r\ndisdel:memory\r\n:1\r\n"
            end = b"*3\r\n$7\r\nmessage\r\n$13\r\ndisdel:memory\r\n$3\r\nend\r\n"
            # The last one again where it came too late for who asked.
            answers = itertools.chain(
                (subscribed, b"what?\r\n"), itertools.repeat(subscribed + end)
            )
            with contextlib.suppress(OSError):
                for answer in answers:
                    connection, _ = server.accept()
                    connections.append(connection)
                    connection.sendall(answer)

        connections = []
        serving = threading.Thread(target=serve)
        serving.start()
        url = f"redis://127.0.0.1:{server.getsockname()[1]}"
        with heard_from(url, told) as heard:
            pass
        server.shutdown(socket.SHUT_RDWR)
        serving.join()
        for connection in connections:
            connection.close()
    assert heard == [b"end"]
    assert "lost Redis, trying again: timed out" in told
    assert "lost Redis, trying again: Redis says 'what?'" in told


def test_messages_of_any_size_and_content(redis_url):
    told = []
    sizes = [0, 1, MAX_BYTES, MAX_BYTES + 1, 300_000, 5_000_000, 7]
    sent = [os.urandom(size) for size in sizes]
    with redis.Redis.from_url(redis_url) as admin, heard_from(redis_url, told) as heard:
        wait_until(lambda: admin.publish(CHANNEL, "begin"))
        pipe = admin.pipeline()
        for message in [*sent, b"\r\n$3\r\n*3\r\n", *[b"small"] * 1000, b"end"]:
            pipe.publish(CHANNEL, message)
        pipe.execute()
    while heard[0] == b"begin":
        del heard[0]
    expected = [message[: MAX_BYTES + 1] for message in sent]
    assert heard == [*expected, b"\r\n$3\r\n*3\r\n", *[b"small"] * 1000, b"end"]
