"""Stand in for OpenWhisk's ActionLoop proxy around a launcher: `actionloop.py FOLDER PORT`.

FOLDER holds launcher.py. As much of the proxy as a launcher notices: the action's folder, the
environment, file descriptor 3, the acknowledgement, one line a request, and the log's sentinels.
Facts are from apache/openwhisk-runtime-go, openwhisk/{executor,initHandler,runHandler}.go.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"


class Action:
    """The launcher's process, from /init on."""

    def __init__(self, folder: Path, launcher: Path) -> None:
        self.folder = folder
        self.launcher = launcher
        self.process: subprocess.Popen[bytes] | None = None

    def init(self, body: bytes) -> tuple[int, bytes]:
        if self.process:
            return failure(403, "Cannot initialize the action more than once.")
        value = json.loads(body)["value"]
        if value.get("binary"):
            with zipfile.ZipFile(io.BytesIO(base64.b64decode(value["code"]))) as archive:
                archive.extractall(self.folder)
            (self.folder / "__main__.py").rename(self.folder / "main__.py")
        else:
            (self.folder / "main__.py").write_text(value["code"], encoding="utf-8")
        shutil.copy(self.launcher, self.folder / "exec__.py")
        read_end, write_end = os.pipe()
        self.process = subprocess.Popen(
            # The child's third descriptor must be 3, which only a shell promises.
            ["/bin/sh", "-c", f'exec "$0" exec__.py 3>&{write_end}', sys.executable],
            stdin=subprocess.PIPE,
            cwd=self.folder,
            pass_fds=[write_end],
            env={**visible(os.environ), "__OW_WAIT_FOR_ACK": "1", **value.get("env", {})},
        )
        os.close(write_end)
        self.results = os.fdopen(read_end, "rb")
        if json.loads(self.results.readline() or b"{}") != {"ok": True}:
            return failure(502, "Cannot start action. Check logs for details.")
        return 200, b'{"ok":true}'

    def run(self, body: bytes) -> tuple[int, bytes]:
        if self.process is None:
            return failure(500, "no action defined yet")
        assert self.process.stdin is not None
        self.process.stdin.write(body.replace(b"\n", b"") + b"\n")
        self.process.stdin.flush()
        result = self.results.readline()
        os.write(1, f"{SENTINEL}\n".encode())
        os.write(2, f"{SENTINEL}\n".encode())
        if not result:
            return failure(400, "command exited")
        if not isinstance(json.loads(result), dict | list):
            return failure(502, "The action did not return a dictionary or array.")
        return 200, result


def visible(environ: os._Environ[str]) -> dict[str, str]:
    """What user code sees of the container's environment, and what Python and the check need."""
    kept = ("PATH", "PYTHONPATH", "TMPDIR", "DISDEL_MEMORY_LIMIT_BYTES")
    own = {name: text for name, text in environ.items() if name.startswith("__OW_")}
    return {**own, **{name: environ[name] for name in kept if name in environ}}


def failure(status: int, message: str) -> tuple[int, bytes]:
    return status, json.dumps({"error": message}).encode()


def serve(action: Action, port: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, reply = action.init(body) if self.path == "/init" else action.run(body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        server.serve_forever()


def main() -> None:
    modules, port = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    # In the image the launcher's modules are among the site packages.
    os.environ["PYTHONPATH"] = str(modules)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="actionloop-") as folder:
        action = Action(Path(folder), modules / "launcher.py")
        try:
            serve(action, port)
        finally:
            if action.process:
                action.process.kill()
                action.process.wait()


if __name__ == "__main__":
    main()
