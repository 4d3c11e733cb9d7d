"""Rows 45 to 48: the action proxy by itself, which nobody reaches on a cluster."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from disdel import container_memory
from disdel.assets import asset_dir

pytestmark = pytest.mark.only_embedded("the containers of a cluster are out of reach")

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"


class Proxy:
    def __init__(self, process: subprocess.Popen[str], http: httpx.Client) -> None:
        self.process = process
        self.http = http

    def init(self, code: str, **value: object) -> httpx.Response:
        wire = {"name": "a", "main": "main", "binary": False, "code": code, **value}
        return self.http.post("/init", json={"value": wire})


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    shutil.copy(asset_dir("runtime-image") / "proxy.py", tmp_path)
    shutil.copy(container_memory.__file__, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "proxy.py"), "--fd", str(listener.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[listener.fileno()],
            env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
        yield Proxy(process, http)
    process.kill()
    process.communicate()


def test_row_45_init_only_once(proxy: Proxy) -> None:
    assert proxy.init("def main(args): return args").status_code == 200
    again = proxy.init("def main(args): return {}")
    assert again.status_code == 403
    assert again.json() == {"error": "Cannot initialize the action more than once."}


def test_row_46_environment_at_import(proxy: Proxy) -> None:
    code = "import os\nSEEN = os.environ['A']\ndef main(args): return {'seen': SEEN}"
    assert proxy.init(code, env={"A": "1"}).status_code == 200
    assert proxy.http.post("/run", json={"value": {}}).json() == {"seen": "1"}


def test_row_47_run(proxy: Proxy) -> None:
    proxy.init("import os\ndef main(args):\n    print('said')\n    return dict(os.environ)")
    context = {"activation_id": "i", "deadline": "1", "action_name": "/g/a", "namespace": "g"}
    reply = proxy.http.post("/run", json={"value": {}, **context})
    assert int(reply.headers["content-length"]) == len(reply.content)
    seen = reply.json()
    assert {f"__OW_{key.upper()}": text for key, text in context.items()}.items() <= seen.items()
    proxy.process.kill()
    out, err = proxy.process.communicate()
    assert out == f"said\n{SENTINEL}\n"
    assert err == f"{SENTINEL}\n"


def test_row_48_arguments_come_back_intact(proxy: Proxy) -> None:
    proxy.init("def main(args): return args")
    value = {"text": "ünïcödé ☃ 🚀\n\0", "large": "x" * (1 << 20), "empty": {}}
    assert proxy.http.post("/run", json={"value": value}).json() == value
