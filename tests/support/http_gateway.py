"""A server that does what gateways before functions were seen to do, and what uses one."""

import asyncio
import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import disdel
from disdel.controller.invoking.bundle import library
from disdel.platforms.http.provider import PROVIDER
from disdel.protocol.calls import CALLS_VERSION, library_digest
from disdel.settings import Settings
from tests.contract.test_platform import action

HELLO = {
    "disdel": CALLS_VERSION,
    "version": disdel.__version__,
    "library": library_digest(library().items()),
    "python": "3.11",
    "machine": "x86_64",
    "host": "h",
    "cpus": 1,
    "memory_mb": 1024,
    "enforcement": "sampling",
    "instances": 4,
    "timeouts": {"timeout": 60.0},
}


def record(request, result=None):
    return {
        "disdel": CALLS_VERSION,
        "activation_id": request["activation_id"],
        "ending": "success",
        "result": result or {},
        "start_ms": 1,
        "duration_ms": 1,
        "init_ms": None,
        "logs": [],
    }


class Gateway(ThreadingHTTPServer):
    """Answers `hello`, and calls by `answer(request, headers)`: JSON, or status, headers, text.

    Where that gives None, the connection is cut.
    """

    daemon_threads = True

    def __init__(self, answer, hello=HELLO):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.hello = hello
        self.asked = []
        self.seen = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/f"

    def handle_error(self, request, client_address):
        """A client that goes away is nothing to tell."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = json.loads(body)
        self.server.seen.append(dict(self.headers))
        answer = self.server.hello
        if request["do"] == "call":
            self.server.asked.append((request, dict(self.headers), time.monotonic()))
            answer = self.server.answer(request, self.headers)
        if answer is None:
            self.close_connection = True
            self.connection.close()
            return
        status, headers, text = answer if isinstance(answer, tuple) else (200, {}, answer)
        data = text if isinstance(text, bytes) else json.dumps(text).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def gateway(answer=lambda request, _: record(request), **hello):
    server = Gateway(answer, {**HELLO, **hello})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def using(server, use, *options, spec=None, patience_s=10.0, insecure=False):
    """What `use(platform)` gives, of a package `p` with the action `act`."""
    url = server if isinstance(server, str) else server.url

    async def body():
        settings = Settings(
            platform_options=(f"url={url}", *options),
            patience_network_s=patience_s,
            insecure=insecure,
        )
        async with PROVIDER.open(settings) as opened:
            await opened.platform.create_package("p", {})
            await opened.platform.create_action("p", spec or action())
            return await use(opened.platform)

    return asyncio.run(body())


def invoked(begun=None, **arguments):
    async def use(platform):
        looking = {} if begun is None else {"begun": begun}
        return await platform.invoke("p", "act", arguments, **looking)

    return use


def found(*what):
    """What is found in the store, one look after the other; the last for good."""
    looks = list(what)

    async def begun():
        return looks.pop(0) if len(looks) > 1 else looks[0]

    return begun
