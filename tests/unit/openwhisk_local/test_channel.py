from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import pytest

from openwhisk_local.containers.channel import Answer, Channel, ChannelLost, ChannelUnread

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nx-a: b\r\n\r\nanswer"


def exchange(peer: Callable[[socket.socket], None], body: bytes = b"{}", times: int = 1) -> Answer:
    """The last of so many answers of a peer, which runs in a thread of its own."""
    ours, theirs = socket.socketpair()

    def run_peer() -> None:
        with theirs:
            peer(theirs)

    async def run() -> Answer:
        channel = await Channel.open(ours)
        try:
            for _ in range(times):
                async with asyncio.timeout(30):
                    answer = await channel.exchange("POST", "/run", body, keep_bytes=4)
        finally:
            channel.close()
        return answer

    thread = threading.Thread(target=run_peer)
    thread.start()
    try:
        return asyncio.run(run())
    finally:
        thread.join()


def read_request(end: socket.socket) -> None:
    with end.makefile("rb") as lines:
        size = 0
        while line := lines.readline().strip():
            if line.startswith(b"content-length: "):
                size = int(line.partition(b": ")[2])
        lines.read(size)


def test_one_request_after_another() -> None:
    def peer(end: socket.socket) -> None:
        for _ in range(3):
            read_request(end)
            end.sendall(OK)

    answer = exchange(peer, times=3)
    assert (answer.status, answer.headers["x-a"]) == (200, "b")
    assert (bytes(answer.body), answer.size_bytes) == (b"answ", 6)


def test_a_peer_that_is_gone_has_not_had_the_request() -> None:
    with pytest.raises(ChannelUnread):
        # More than the socket takes by itself.
        exchange(lambda end: end.close(), b"x" * (8 << 20))


def test_a_peer_that_closed_with_its_last_answer() -> None:
    def peer(end: socket.socket) -> None:
        read_request(end)
        end.sendall(OK.replace(b"x-a: b", b"connection: close"))

    with pytest.raises(ChannelUnread):
        exchange(peer, times=2)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        OK[:-1],
        b"no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * (1 << 20),
    ],
)
def test_a_peer_that_ends_or_talks_nonsense_may_have_acted(said: bytes) -> None:
    def peer(end: socket.socket) -> None:
        read_request(end)
        try:
            end.sendall(said)
        except OSError:
            assert len(said) > 1000

    with pytest.raises(ChannelLost):
        exchange(peer)
