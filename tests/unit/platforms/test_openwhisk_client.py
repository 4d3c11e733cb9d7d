"""What the client of OpenWhisk's API does with replies that no platform here gives."""

import asyncio
import gc
import json
import threading
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from disdel.connections.patience import Patience
from disdel.errors import ActivationLost
from disdel.platforms.base import ActionSpec, Begun, nowhere
from disdel.platforms.openwhisk import client as client_module
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


def test_nothing_of_an_exchange_stays_when_it_is_over(monkeypatch):
    """Not until somebody looks for circles, either: a command that is soon over hardly does."""
    sent, answered = [], []

    async def answer(reader, writer):
        answered.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n"
        writer.write(head + b"{}")
        await writer.drain()
        await reader.read()  # until the client hangs up
        writer.close()
        await writer.wait_closed()

    async def ask():
        build = httpx.AsyncClient.build_request

        def noted(*args, **kwargs):
            request = build(*args, **kwargs)
            sent.append(weakref.ref(request))
            return request

        monkeypatch.setattr(httpx.AsyncClient, "build_request", noted)
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            exchange = Exchange(
                ApiAccess(f"http://127.0.0.1:{port}", "a:b", False), Patience("it", 60)
            )
            await exchange.change("PUT", "/actions/train", {"exec": {"code": "code"}})
            await exchange.answer("GET", "/actions", read=dict)
            left = [request() is not None for request in sent]
            await exchange.close()
            await asyncio.gather(*answered)
        return left

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(ask()) == [False, False]
    finally:
        gc.enable()


ID = "0123456789abcdef0123456789abcdef"
NONE = (404, {"error": "The requested resource does not exist.", "code": "0a"})
RECORD = {
    "activationId": ID,
    "name": "act",
    "start": 0,
    "response": {"status": "success", "result": {"n": 1}},
}


def invoked(answers, begun=nowhere):
    """The record of an invocation that is answered by 202, or its loss; and what was asked.

    `answers` are those to who asks for the record, after which there is none.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_any(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.command, self.path.partition("/_/")[2]))
            status, body = 202, {"activationId": ID}
            if self.command == "GET":
                status, body = next(answers, NONE)
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("x-openwhisk-activation-id", ID)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_any

        def log_message(self, *_):
            pass

    async def use(url):
        platform = OpenWhisk(ApiAccess(url, "user:secret"))
        try:
            return await platform.invoke("p", "act", {}, timeout_s=1.0, begun=begun)
        except ActivationLost as lost:
            return lost
        finally:
            await platform.close()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            return asyncio.run(use(f"http://127.0.0.1:{server.server_port}")), asked
        finally:
            server.shutdown()
            thread.join()


def test_what_is_answered_by_202_is_executed_once_and_its_record_waited_for():
    """There is none (404) before the activation has ended."""
    record, asked = invoked(iter([*[NONE] * 5, (200, RECORD)]))
    assert (record.id, record.result) == (ID, {"n": 1})
    assert asked == [("POST", "actions/p/act?blocking=true")] + [("GET", f"activations/{ID}")] * 6


def test_a_record_that_never_comes_is_waited_for_until_its_deadline(monkeypatch):
    monkeypatch.setattr(client_module, "_RECORD_S", 0.1)

    async def begun():
        return Begun(activation_id=ID, ended=True)

    lost, asked = invoked(iter(()), begun)
    assert isinstance(lost, ActivationLost)
    assert lost.activation_id == ID
    assert [method for method, _ in asked].count("POST") == 1


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
