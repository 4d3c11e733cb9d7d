"""The action proxy by itself: what `/init` and `/run` answer, as OpenWhisk's contract has it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from disdel import container_memory
from disdel.assets import asset_dir
from disdel.memory_agent import memory_warning

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
ECHO = "def main(args): return args"


class Proxy:
    """A running proxy; `end` stops it and gives what it wrote."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)

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
        shutil.copy(asset_dir("runtime-image") / "proxy.py", laid)
        shutil.copy(container_memory.__file__, laid)
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


def archive(**files: str) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name.replace("__slash__", "/") + ".py", text)
    return base64.b64encode(buffer.getvalue()).decode()


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


def test_another_entry_function(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        action.init("def go(args): return {'went': True}", main="go")
        assert action.run().json() == {"went": True}


def test_a_zip_with_modules_and_data(tmp_path: Path) -> None:
    code = archive(
        __main__="import helper\ndef main(args): return helper.answer()",
        helper="def answer():\n    return {'data': len(open('data__.py').read())}",
        data__="12345",
    )
    with proxy(tmp_path) as action:
        assert action.init(code, binary=True).status_code == 200
        assert action.run().json() == {"data": 5}


def test_large_files_of_a_zip_arrive_whole_beside_small_ones(tmp_path: Path) -> None:
    main = (
        "import hashlib, pathlib\n"
        "def main(args):\n"
        "    files = pathlib.Path('libs').rglob('*.so')\n"
        "    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}\n"
    )
    libraries = {f"libs/{n}/{n}.so": os.urandom(3 << 20 if n % 2 else 100) for n in range(6)}
    code = base64.b64encode(zipped({"__main__.py": main.encode(), **libraries})).decode()
    with proxy(tmp_path) as running:
        assert running.init(code, binary=True).status_code == 200
        assert running.run().json() == {
            Path(name).name: hashlib.sha256(data).hexdigest() for name, data in libraries.items()
        }


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, data in files.items():
            bundle.writestr(name, data)
    return buffer.getvalue()


def bundle_with_requirements(requirements: str) -> str:
    """An action that imports `tiny`, beside a wheel of it."""
    wheel = zipped(
        {
            "tiny.py": b"ANSWER = 42",
            "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
            "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
            b"Tag: py3-none-any\n",
            "tiny-1.0.dist-info/RECORD": b"tiny.py,,\n",
        }
    )
    data = zipped(
        {
            "__main__.py": b"import tiny\ndef main(args): return {'answer': tiny.ANSWER}",
            "requirements.txt": requirements.encode(),
            "tiny-1.0-py3-none-any.whl": wheel,
        }
    )
    return base64.b64encode(data).decode()


def test_requirements_are_installed_at_init(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        code = bundle_with_requirements("./tiny-1.0-py3-none-any.whl")
        assert action.init(code, binary=True).status_code == 200
        assert action.run().json() == {"answer": 42}


def test_requirements_that_cannot_be_installed_fail_the_init(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        reply = action.init(bundle_with_requirements("./other.whl"), binary=True)
        assert reply.status_code == 502
        assert "See logs for details" in reply.json()["error"]
        _, err = action.end()
    assert "other.whl" in err


@pytest.mark.parametrize(
    ("code", "binary", "status", "error"),
    [
        ("def main(", False, 502, "Cannot start action. Check logs for details."),
        ("import nowhere", False, 502, "Cannot start action. Check logs for details."),
        ("import sys; sys.exit(0)", False, 502, "Cannot start action. Check logs for details."),
        ("x = 1", False, 502, "Cannot start action. Check logs for details."),
        ("main = 1", False, 502, "Cannot start action. Check logs for details."),
        ("ab=c", True, 400, "cannot decode the request: "),
        (
            base64.b64encode(b"no zip").decode(),
            True,
            502,
            "The action failed to generate or locate a binary. See logs for details.",
        ),
        (
            archive(other="x = 1"),
            True,
            502,
            "The action failed to generate or locate a binary. See logs for details.",
        ),
    ],
)
def test_failed_init(tmp_path: Path, code: str, binary: bool, status: int, error: str) -> None:
    with proxy(tmp_path) as action:
        reply = action.init(code, binary=binary)
        assert reply.status_code == status
        assert reply.json()["error"].startswith(error)
        out, err = action.end()
    assert out == f"{SENTINEL}\n"
    assert err.endswith(f"{SENTINEL}\n")


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
        out, _ = action.process.communicate(timeout=30)
    assert out.endswith(f"{SENTINEL}\n")
    assert action.process.returncode != 0


def test_the_memory_monitor(tmp_path: Path) -> None:
    code = (
        "import json, os, time\n"
        "def main(args):\n"
        "    block = bytearray(50 << 20)\n"
        "    while True:\n"
        "        state = json.load(open(os.environ['__OW_MEMORY_STATE']))\n"
        "        if state['used_bytes'] > 50 << 20:\n"
        "            return state\n"
        "        time.sleep(0.01)\n"
    )
    with proxy(tmp_path, DISDEL_MEMORY_LIMIT_BYTES=str(1 << 30)) as action:
        action.init(code)
        reply = action.run()
    assert int(reply.headers["x-disdel-peak-memory-bytes"]) > 50 << 20
    assert reply.json()["peak_bytes"] >= reply.json()["used_bytes"]
    assert reply.json()["limit_bytes"] is not None


CRITICAL = """
import json, os, time

def main(args):
    blocks = []
    while not (state := json.load(open(os.environ["__OW_MEMORY_STATE"])))["critical"]:
        blocks.append(bytearray(4 << 20))
        time.sleep(0.01)
    return RESULT
"""
LIMITED = {"DISDEL_MEMORY_LIMIT_BYTES": str(100 << 20), "DISDEL_MEMORY_CRITICAL_MB": "40"}


def test_an_action_that_comes_near_its_limit_is_warned(tmp_path: Path) -> None:
    with proxy(tmp_path, **LIMITED) as action:
        action.init(CRITICAL.replace("RESULT", "state"))
        reply = action.run({"redis": "redis://127.0.0.1:1"})
        _, err = action.end()
    assert reply.status_code == 200
    assert reply.headers["x-disdel-memory-critical"] == "1"
    # The result stays what the action returned.
    assert set(reply.json()) == {"used_bytes", "peak_bytes", "limit_bytes", "critical"}
    assert reply.json()["used_bytes"] > 60 << 20
    # Without memory_warning.py beside the proxy the parameter `redis` means nothing to it.
    [line, end] = err.splitlines()
    assert re.fullmatch(
        r"disdel: memory is critical: \d+ of 100 MB are in use, less than 40 MB are left", line
    )
    assert end == SENTINEL


def test_the_warning_belongs_to_its_activation(tmp_path: Path) -> None:
    code = CRITICAL.replace("RESULT", "{}") + (
        "\nfill = main\ndef main(args): return fill(args) if args.get('fill') else {}\n"
    )
    with proxy(tmp_path, **LIMITED) as action:
        action.init(code)
        critical = [
            "x-disdel-memory-critical" in action.run(value).headers
            for value in ({}, {"fill": True}, {})
        ]
    assert critical == [False, True, False]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("{'mine': 1}", {"mine", "_memory"}),
        ("{'error': 'no'}", {"error", "_memory"}),
        ("[1]", {1}),
    ],
)
def test_a_field_in_the_reply_for_those_who_ask_for_it(
    tmp_path: Path, result: str, expected: set[object]
) -> None:
    with proxy(tmp_path, DISDEL_MEMORY_REPLY_FIELD="_memory", **LIMITED) as action:
        action.init(CRITICAL.replace("RESULT", result))
        reply = action.run().json()
    assert set(reply) == expected
    if isinstance(reply, dict):
        assert reply["_memory"]["critical"] is True


def test_no_field_without_need(tmp_path: Path) -> None:
    with proxy(tmp_path, DISDEL_MEMORY_REPLY_FIELD="_memory") as action:
        action.init()
        assert action.run({"mine": 1}).json() == {"mine": 1}


def test_the_memory_agent_is_told_over_redis(tmp_path: Path, redis_url: str) -> None:
    with (
        redis.Redis.from_url(redis_url) as client,
        client.pubsub(ignore_subscribe_messages=True) as channel,
        proxy(tmp_path, agent=True, **LIMITED) as action,
    ):
        channel.subscribe(memory_warning.CHANNEL)
        channel.get_message(timeout=10)
        action.init(CRITICAL.replace("RESULT", "{}"))
        action.run({"redis": redis_url}, activation_id="a" * 32, action_name="/guest/a")
        message = channel.get_message(timeout=10)
    warning = json.loads(message["data"])
    assert warning.pop("used_bytes") > 60 << 20
    assert warning == {
        "version": 1,
        "host": socket.gethostname(),
        "action": "/guest/a",
        "activation_id": "a" * 32,
        "limit_bytes": 100 << 20,
        "critical_bytes": 40 << 20,
    }


@pytest.mark.parametrize("url", ["redis://:hunter2@127.0.0.1:1", "nonsense:hunter2"])
def test_an_agent_that_cannot_be_told_costs_a_line(tmp_path: Path, url: str) -> None:
    with proxy(tmp_path, agent=True, **LIMITED) as action:
        action.init(CRITICAL.replace("RESULT", "{}"))
        assert action.run({"redis": url}).status_code == 200
        _, err = action.end()
    assert "disdel: the memory agent was not told: " in err
    assert "hunter2" not in err


def test_the_platform_may_say_where_the_state_goes(tmp_path: Path) -> None:
    state = tmp_path / "memory.json"
    with proxy(tmp_path, __OW_MEMORY_STATE=str(state)) as action:
        action.init()
        action.run()
    assert json.loads(state.read_text())["critical"] is False


def test_a_critical_region_of_no_size_is_an_error_at_the_start(tmp_path: Path) -> None:
    with proxy(tmp_path, DISDEL_MEMORY_CRITICAL_MB="ten") as action:
        _, err = action.process.communicate(timeout=30)
    assert "DISDEL_MEMORY_CRITICAL_MB is 'ten' and must be a number of MB" in err
    assert action.process.returncode != 0


def test_preimport_happens_before_the_first_request(tmp_path: Path) -> None:
    code = "import sys\nTHERE = 'wave' in sys.modules\ndef main(args): return {'there': THERE}"
    with proxy(tmp_path, DISDEL_PREIMPORT="wave,not_installed_anywhere") as action:
        action.init(code)
        assert action.run().json() == {"there": True}


def test_preimport_goes_without_what_is_not_wanted_and_the_action_does_not(tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(
        "try:\n    import wave\nexcept ImportError:\n    wave = None\n"
    )
    code = (
        "import greedy\nimport wave\n"
        "def main(args): return {'taken': greedy.wave is not None, 'there': wave is not None}"
    )
    with proxy(
        tmp_path,
        PYTHONPATH=str(tmp_path),
        DISDEL_PREIMPORT="greedy",
        DISDEL_PREIMPORT_WITHOUT="wave",
    ) as action:
        action.init(code)
        assert action.run().json() == {"taken": False, "there": True}


def test_sigterm_ends_it(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        action.init()
        action.process.send_signal(signal.SIGTERM)
        assert action.process.wait(30) != 0


def test_listens_on_a_port_by_itself(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    source = asset_dir("runtime-image") / "proxy.py"
    shutil.copy(source, tmp_path)
    shutil.copy(container_memory.__file__, tmp_path)
    process = subprocess.Popen([sys.executable, str(tmp_path / "proxy.py"), "--port", str(port)])
    try:
        end = time.monotonic() + 30
        while True:
            try:
                reply = httpx.post(f"http://127.0.0.1:{port}/run", json={}, trust_env=False)
                break
            except httpx.ConnectError:
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.01)
        assert json.loads(reply.text) == {"error": "no action defined yet"}
    finally:
        process.kill()
        process.wait()
