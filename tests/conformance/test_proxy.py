"""Rows 45 to 48: the action proxy by itself, which nobody reaches on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.action_proxy import SENTINEL, Proxy
from tests.support.action_proxy import proxy as started

pytestmark = pytest.mark.only_embedded("the containers of a cluster are out of reach")


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with started(tmp_path) as running:
        yield running


def test_row_45_init_only_once(proxy: Proxy) -> None:
    assert proxy.init("def main(args): return args").status_code == 200
    again = proxy.init("def main(args): return {}")
    assert again.status_code == 403
    assert again.json() == {"error": "Cannot initialize the action more than once."}


def test_row_46_environment_at_import(proxy: Proxy) -> None:
    code = "import os\nSEEN = os.environ['A']\ndef main(args): return {'seen': SEEN}"
    assert proxy.init(code, env={"A": "1"}).status_code == 200
    assert proxy.client.post("/run", json={"value": {}}).json() == {"seen": "1"}


def test_row_47_run(proxy: Proxy) -> None:
    proxy.init("import os\ndef main(args):\n    print('said')\n    return dict(os.environ)")
    context = {"activation_id": "i", "deadline": "1", "action_name": "/g/a", "namespace": "g"}
    reply = proxy.client.post("/run", json={"value": {}, **context})
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
    assert proxy.client.post("/run", json={"value": value}).json() == value
