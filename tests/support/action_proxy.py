"""Running the action proxy by itself, and asking it what OpenWhisk would."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from disdel.memory_agent import memory_warning
from openwhisk_local.proxies import proxy_files
from tests.support.waiting import DEADLINE_S

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
ECHO = "def main(args): return args"


class Proxy:
    """A running proxy; `end` stops it and gives what it wrote."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S, trust_env=False
        )

    def init(self, code: str | None = ECHO, **value: Any) -> httpx.Response:
        if code is not None:
            value["code"] = code
        return self.client.post("/init", json={"value": {"name": "a", "main": "main", **value}})

    def run(self, value: Any = None, **context: Any) -> httpx.Response:
        return self.client.post("/run", json={"value": value or {}, **context})

    def end(self) -> tuple[str, str]:
        self.process.kill()
        return self.process.communicate()


@contextmanager
def proxy(folder: Path, *, agent: bool = False, **environment: str) -> Iterator[Proxy]:
    laid = folder / "proxy"
    if not laid.exists():
        laid.mkdir()
        for module in proxy_files():
            shutil.copy(module, laid)
        if agent:
            shutil.copy(memory_warning.__file__, laid)
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, str(laid / "proxy.py"), "--fd", str(listener.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[listener.fileno()],
            env={"PATH": os.environ["PATH"], "TMPDIR": str(folder), **environment},
        )
    running = Proxy(process, port)
    try:
        yield running
    finally:
        running.end()
        running.client.close()
