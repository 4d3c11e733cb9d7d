"""What the client of OpenWhisk's API does with replies that no platform here gives."""

import asyncio

import httpx
import pytest

from disdel.connections.patience import Patience
from disdel.platforms.base import ActionSpec
from disdel.platforms.openwhisk.access import ApiAccess
from disdel.platforms.openwhisk.client import OpenWhisk
from disdel.platforms.openwhisk.exchange import Exchange, Throttled

MINUTE = "Too many requests in the last minute (count: 61, allowed: 60)."

CODE_IN_THE_REPLY = 40_000_000


def test_the_code_in_the_reply_to_a_made_action_is_not_waited_for():
    """The head of the reply says that the action is made; its body, here, never comes."""
    asked = []
    hung_up = asyncio.Event()

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b" ", 2)[:2])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % CODE_IN_THE_REPLY)
        await writer.drain()
        await reader.read()  # until the client hangs up
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    async def make():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            platform = OpenWhisk(ApiAccess(f"http://127.0.0.1:{port}", "user:secret"))
            action = ActionSpec(
                name="train", kind="python:3.11", code=b"code", memory_mb=256, timeout_s=60.0
            )
            await platform.create_action("package", action)
            await platform.close()
            await hung_up.wait()

    asyncio.run(make())
    [[method, path]] = asked
    assert method == b"PUT"
    assert path.startswith(b"/api/v1/namespaces/_/actions/package/train")


@pytest.mark.parametrize(
    ("error", "headers", "waited_s"),
    [
        (MINUTE, {"date": "Sun, 29 Nov 2026 14:40:42 GMT"}, 18),
        (MINUTE, {"date": "Sun, 29 Nov 2026 14:41:00 GMT"}, 60),
        (MINUTE, {"date": "Sun, 29 Nov 2026 14:40:59 GMT", "retry-after": "7"}, 7),
        ("Too many concurrent requests in flight (count: 31, allowed: 30).", {}, 0),
    ],
)
def test_a_minute_that_is_used_up_is_waited_for_by_the_servers_clock(error, headers, waited_s):
    async def ask():
        exchange = Exchange(ApiAccess("http://127.0.0.1:1", "a:b", False), Patience("it", 60))
        try:
            reply = httpx.Response(429, json={"error": error, "code": "x"}, headers=headers)
            exchange._check_status(reply)
        finally:
            await exchange.close()

    with pytest.raises(Throttled) as throttled:
        asyncio.run(ask())
    assert throttled.value.at_least_s == waited_s
    assert not throttled.value.arrived
