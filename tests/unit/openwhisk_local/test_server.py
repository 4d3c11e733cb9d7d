"""A client may hold up nothing but itself, and not for ever."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Callable

import anyio.from_thread
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from openwhisk_local.errors import Refused
from openwhisk_local.rest import server as servers
from openwhisk_local.rest.server import Server, listen

HEAD = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\n"
LARGE = "x" * (32 << 20)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body; to GET with more than a connection takes, to PUT before it reads."""
    if scope["method"] == "GET":
        answer = LARGE
    elif scope["method"] == "PUT":
        answer = "no"
    else:
        answer = (await Request(scope, receive).body()).decode()
    await PlainTextResponse(answer)(scope, receive, send)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch):
    """Makes connections to a server with little patience and room for four."""
    monkeypatch.setattr(servers, "_TICK_S", 0.02)
    monkeypatch.setattr(servers, "_SHUTDOWN_S", 0.1)
    monkeypatch.setattr(servers, "connection_bound", lambda: 4)
    for name in ("HEAD_S", "BODY_S", "REPLY_S"):
        monkeypatch.setattr(servers, name, 0.2)
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        listen(0) as listener,
        contextlib.ExitStack() as opened,
    ):
        server = portal.call(Server, app, lambda: None)
        serving = portal.start_task_soon(server.serve, [listener])

        def connect() -> socket.socket:
            client = socket.create_connection(listener.getsockname(), timeout=30)
            return opened.enter_context(client)

        yield connect
        portal.call(server.stop)
        serving.result()


Connect = Callable[[], socket.socket]


def everything(client: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := client.recv(1 << 16):
            said += chunk
    return said


@pytest.mark.parametrize(
    ("soft", "bound"), [(256, 128), (1024, 512), (1 << 20, 1024), (resource.RLIM_INFINITY, 1024)]
)
def test_clients_have_half_of_the_open_files(
    monkeypatch: pytest.MonkeyPatch, soft: int, bound: int
) -> None:
    monkeypatch.setattr(servers.resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    assert servers.connection_bound() == bound


def echoed(client: socket.socket, text: bytes) -> bool:
    """Whether the server answers a request with its body."""
    client.sendall(HEAD + text)
    with client.makefile("rb") as said:
        head = [*iter(said.readline, b"\r\n")]
        return b"200 OK" in head[0] and said.read(len(text)) == text


@pytest.mark.parametrize(
    ("sent", "part"),
    [(b"", "head"), (HEAD[:-3], "head"), (HEAD, "body"), (HEAD + b"1", "body")],
)
def test_half_a_request(connect: Connect, sent: bytes, part: str) -> None:
    client = connect()
    client.sendall(sent)
    said = everything(client)
    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert said.endswith(f"The {part} of the request took longer than 0.2 s.".encode())


def test_half_a_request_after_a_whole_one(connect: Connect) -> None:
    client = connect()
    client.sendall(HEAD + b"body" + HEAD[:9])
    said = everything(client)
    assert b"200 OK" in said
    assert b"408 Request Timeout" in said


def test_an_idle_client_may_stay(connect: Connect) -> None:
    idle, slow = connect(), connect()
    assert echoed(idle, b"body")
    # The other one's end shows that more time has passed than a request may take.
    everything(slow)
    assert echoed(idle, b"more")


def test_what_is_refused_need_not_be_heard_out(connect: Connect) -> None:
    client = connect()
    client.sendall(HEAD.replace(b"POST", b"PUT"))
    assert everything(client).endswith(b"no")


def test_a_reply_that_is_not_taken(connect: Connect) -> None:
    client, other = connect(), connect()
    client.sendall(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
    client.recv(1)
    # Its time begins later than this one's.
    everything(other)
    everything(connect())
    assert len(everything(client)) < len(LARGE)


@pytest.mark.parametrize("sent", [b"", HEAD[:-3], HEAD, HEAD.replace(b"POST", b"PUT")])
def test_there_is_room_for_honest_clients(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    for name in ("HEAD_S", "BODY_S", "REPLY_S"):
        monkeypatch.setattr(servers, name, 3600.0)
    kept = connect()
    assert echoed(kept, b"body")
    for _ in range(20):
        connect().sendall(sent)
    assert echoed(connect(), b"body")
    # Those that are idle go last.
    assert echoed(kept, b"more")


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_there_is_not_is_refused(port):
    with (
        pytest.raises(Refused, match=f"--port must be from 0 to 65535, not {port}"),
        listen(port),
    ):
        pass
