"""The action proxy by itself: what `/init` and `/run` answer, as OpenWhisk's contract has it."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from openwhisk_local.proxies import proxy_files
from tests.support import local_http
from tests.support.action_proxy import SENTINEL, Proxy, proxy
from tests.support.ports import free_port
from tests.support.waiting import wait_until


def test_init_only_once(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        assert action.init().status_code == 200
        again = action.init()
        assert again.status_code == 403
        assert again.json() == {"error": "Cannot initialize the action more than once."}
        assert action.run({"still": "there"}).json() == {"still": "there"}


@pytest.mark.parametrize("code", [None, ""])
def test_init_without_code(tmp_path: Path, code: str | None) -> None:
    with proxy(tmp_path) as action:
        reply = action.init(code)
        assert reply.status_code == 403
        assert reply.json() == {"error": "Missing main/no code to execute."}


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"7"])
def test_what_is_no_object(tmp_path: Path, body: bytes) -> None:
    with proxy(tmp_path) as action:
        reply = action.client.post("/init", content=body)
        assert reply.status_code == 400
        assert reply.json()["error"].startswith("Error unmarshaling request: ")


def test_run_before_init(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        reply = action.run()
        assert (reply.status_code, reply.json()) == (500, {"error": "no action defined yet"})


def test_unknown_paths(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        assert action.client.post("/other", json={}).status_code == 404
        assert action.client.get("/").status_code == 404


def test_unicode_and_a_large_argument_come_back_intact(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        action.init()
        value = {"text": "ünïcödé ☃ 🚀\n\0", "large": "x" * (1 << 20), "empty": {}}
        reply = action.run(value)
        assert reply.json() == value
        assert int(reply.headers["content-length"]) == len(reply.content)


def test_an_array_goes_in_and_out(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        action.init()
        assert action.run([1, 2]).json() == [1, 2]


def test_environment(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "AT_IMPORT = os.environ['A']\n"
        "def main(args):\n"
        "    seen = {k: v for k, v in os.environ.items() if k.startswith('__OW_')}\n"
        "    return {'import': AT_IMPORT, 'seen': seen, 'name': __name__}\n"
    )
    with proxy(tmp_path, __OW_API_HOST="http://host") as action:
        action.init(code, env={"A": "1"})
        reply = action.run(activation_id="abc", deadline="12", action_name="/guest/a").json()
    seen = reply["seen"]
    assert (reply["import"], reply["name"]) == ("1", "main__")
    assert seen.pop("__OW_MEMORY_STATE")
    assert seen == {
        "__OW_API_HOST": "http://host",
        "__OW_ACTIVATION_ID": "abc",
        "__OW_DEADLINE": "12",
        "__OW_ACTION_NAME": "/guest/a",
    }


def test_a_sentinel_on_both_streams_after_each_run(tmp_path: Path) -> None:
    code = (
        "import sys\ndef main(args):\n    print('out')\n    sys.stderr.write('err')\n    return {}"
    )
    with proxy(tmp_path) as action:
        action.init(code)
        action.run()
        action.run()
        out, err = action.end()
    assert out == f"out\n{SENTINEL}\n" * 2
    assert err == f"err{SENTINEL}\n" * 2


def test_an_exception_is_an_answer(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        action.init("def main(args): raise ValueError('too bad')")
        reply = action.run()
        assert (reply.status_code, reply.json()) == (200, {"error": "too bad"})
        assert action.run().status_code == 200
        _, err = action.end()
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("result", "status", "body"),
    [
        ("None", 200, None),
        ("'text'", 502, {"error": "The action did not return a dictionary or array."}),
        ("{'x': float('nan')}", 502, {"error": "The action did not return a dictionary or array."}),
        ("{'x': 'NaN'}", 200, {"x": "NaN"}),
    ],
)
def test_results(tmp_path: Path, result: str, status: int, body: object) -> None:
    with proxy(tmp_path) as action:
        action.init(f"def main(args): return {result}")
        reply = action.run()
        assert (reply.status_code, reply.json()) == (status, body)


@pytest.mark.parametrize(
    "statement",
    [
        "import sys; sys.exit(3)",
        "raise KeyboardInterrupt",
        "return {'x': {1, 2}}",
        "return {'x': '\\ud800'}",
    ],
)
def test_what_ends_the_command(tmp_path: Path, statement: str) -> None:
    with proxy(tmp_path) as action:
        action.init(f"def main(args): {statement}")
        reply = action.run()
        assert (reply.status_code, reply.json()) == (400, {"error": "command exited"})
        out, _ = action.process.communicate()
    assert out.endswith(f"{SENTINEL}\n")
    assert action.process.returncode != 0


def run_until_it_ends(action: Proxy) -> None:
    with contextlib.suppress(httpx.HTTPError):
        action.run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "busy",
    [
        None,
        "while True: pass",
        # C code that holds Python's lock: no handler written in Python would ever run.
        "__import__('ctypes').PyDLL(None).sleep(3600)",
        "asyncio = __import__('asyncio'); asyncio.run(asyncio.sleep(3600))",
    ],
)
def test_a_signal_ends_it(tmp_path: Path, number: signal.Signals, busy: str | None) -> None:
    with proxy(tmp_path) as action:
        action.init(f"def main(args):\n    print('busy', flush=True)\n    {busy or 'return {}'}\n")
        if busy:
            running = threading.Thread(target=run_until_it_ends, args=[action])
            running.start()
            assert action.process.stdout
            assert action.process.stdout.readline() == "busy\n"
        action.process.send_signal(number)
        assert action.process.wait() == number
        _, err = action.process.communicate()
        if busy:
            running.join()
    assert "Traceback" not in err


def test_listens_on_a_port_by_itself(tmp_path: Path) -> None:
    port = free_port()
    for module in proxy_files():
        shutil.copy(module, tmp_path)
    process = subprocess.Popen([sys.executable, str(tmp_path / "proxy.py"), "--port", str(port)])
    try:

        def answer() -> httpx.Response | None:
            assert process.poll() is None
            with contextlib.suppress(httpx.ConnectError):
                return local_http.post(f"http://127.0.0.1:{port}/run", json={})
            return None

        assert json.loads(wait_until(answer).text) == {"error": "no action defined yet"}
        if not hasattr(socket, "TCP_DEFER_ACCEPT"):
            return
        # Clients that say nothing are not waited for: together they may be silent for longer.
        with contextlib.ExitStack() as silent:
            for _ in range(10):
                silent.enter_context(socket.create_connection(("127.0.0.1", port)))
            local_http.post(f"http://127.0.0.1:{port}/run", json={})
    finally:
        process.kill()
        process.wait()
