"""An object server in this process that misbehaves as it is told to."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

# What a fault does: it answers by itself and gives True, or only before the right answer.
Fault = Callable[["Handler"], bool]


class Server(ThreadingHTTPServer):
    """Objects by path; `faults` strike one request each, in their order.

    Attributes:
        connections: how many were made.
        asked: method, path and headers of each request.
        queries: of each, by name.
        conditional: whether it heeds If-None-Match.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.queries: list[dict[str, str]] = []
        self.connections = 0
        self.conditional = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def process_request(self, request, client_address) -> None:
        self.connections += 1
        super().process_request(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def answer(self, status: int, body: bytes = b"", **headers: str) -> bool:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return True

    def cut(self) -> bool:
        self.close_connection = True
        return True

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path, dict(self.headers)))
        self.server.queries.append(dict(parse_qsl(urlsplit(self.path).query)))
        self.body, self.name = body, path
        if self.server.faults and self.server.faults.pop(0)(self):
            return
        self.serve()

    do_GET = do_PUT = do_DELETE = do_POST = _handle

    def serve(self) -> None:
        """What is right."""
        objects = self.server.objects
        if self.command == "PUT":
            if "If-None-Match" in self.headers and self.server.conditional and self.name in objects:
                self.answer(412, error("PreconditionFailed"))
                return
            objects[self.name] = self.body
            self.answer(200)
        elif self.command == "DELETE":
            objects.pop(self.name, None)
            self.answer(204)
        elif self.name not in objects:
            self.answer(404, error("NoSuchKey"))
        else:
            data = objects[self.name]
            first, _, last = (
                self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            )
            part = data[int(first) : int(last or len(data)) + 1]
            span = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
            self.answer(206, part, Content_Range=span, ETag=f'"{hash(data)}"')

    def log_message(self, *args: object) -> None:
        pass


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode()


def refuses(status: int, code: str = "", **headers: str) -> Fault:
    """Answers a request with this error alone."""
    return lambda handler: handler.answer(status, error(code), **headers)


def cuts(handler: Handler) -> bool:
    """Ends the connection without an answer, and does nothing."""
    return handler.cut()


def cuts_after(handler: Handler) -> bool:
    """Does what it was asked, and ends the connection without saying so."""
    assert handler.command == "PUT"
    handler.server.objects[handler.name] = handler.body
    return handler.cut()


@contextlib.contextmanager
def object_stub() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
