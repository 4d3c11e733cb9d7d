"""A server that answers Lambda's API as a test says, for what no real one does when asked to."""

import base64
import contextlib
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROLE = "arn:aws:iam::123456789012:role/disdel"


def report(request_id, **facts):
    """The log of an invocation, as Lambda answers it."""
    said = {"Duration": "5.00 ms", "Memory Size": "128 MB", "Max Memory Used": "40 MB", **facts}
    tail = "\t".join(f"{name}: {value}" for name, value in said.items())
    return "".join(
        f"{line}\n"
        for line in (
            f"START RequestId: {request_id} Version: $LATEST",
            f"END RequestId: {request_id}",
            f"REPORT RequestId: {request_id}\t{tail}",
        )
    )


class StubLambda:
    """A context manager; what it is asked beside invocations it answers as all is well.

    Args:
        answer: called with the number of an invocation, from 1, and its event; gives the status,
            the body and headers.

    Attributes:
        invocations: how many have come.
        most: how many were under way at the same time.
        connections: how many there were.
        created: what functions were asked for, in order.
    """

    def __init__(self, answer=None):
        self._answer = answer or (lambda number, event: (200, event, {}))
        self._lock = threading.Lock()
        self.invocations = self.most = self._now = self.connections = 0
        self.created = []

    def __enter__(self):
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def setup(self):
                super().setup()
                with stub._lock:
                    stub.connections += 1

            def do_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, said, headers = 200, {"State": "Active", "Functions": []}, {}
                if self.path.endswith("/invocations"):
                    status, said, headers = stub._invoked(json.loads(body))
                elif self.command == "POST":
                    stub.created.append(json.loads(body))
                text = said if isinstance(said, bytes) else json.dumps(said).encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = do_any

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _invoked(self, event):
        with self._lock:
            self.invocations += 1
            number = self.invocations
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            status, said, headers = self._answer(number, event)
        finally:
            with self._lock:
                self._now -= 1
        request_id = str(uuid.uuid4())
        log = base64.b64encode(report(request_id).encode()).decode()
        return status, said, {"x-amzn-RequestId": request_id, "X-Amz-Log-Result": log, **headers}
