"""The embedded platform over HTTP: real limits, its pool, and nothing left behind.

What it shares with every OpenWhisk is in tests/conformance.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from disdel.config import ApiAccess
from disdel.embedded.containers.isolation import CONTAINER_ENV
from disdel.embedded.records import PlatformRecord, read_records
from disdel.errors import PlatformError, UsageError
from disdel.platforms import embedded
from disdel.platforms.embedded import EmbeddedOptions, EmbeddedPlatform, start_embedded

ECHO = "def main(args): return args"
WHERE = "import os, time\ndef main(args): return {'pid': os.getpid()}"
# Ends when the file named by its argument appears.
WAIT = (
    "import os, pathlib, time\n"
    "def main(args):\n"
    "    if 'started' in args: pathlib.Path(args['started']).touch()\n"
    "    while not os.path.exists(args['until']): time.sleep(0.01)\n"
    "    return {'pid': os.getpid()}\n"
)
EAT = (
    "def main(args):\n"
    "    eaten = []\n"
    "    while len(eaten) < args.get('mb', 2000): eaten.append(bytearray(1 << 20))\n"
    "    return {'eaten': len(eaten)}\n"
)


def wait_until(condition: Callable[[], Any], deadline_s: float = 60.0) -> Any:
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.01)
    return value


@dataclass(frozen=True)
class User:
    """A user of a platform, as far as the tests need one."""

    client: httpx.Client
    record: PlatformRecord

    def put(self, name: str, code: str = ECHO, **wire: Any) -> dict[str, Any]:
        memory = wire.pop("memory", 128)
        wire.setdefault("limits", {"memory": memory})
        wire.setdefault("exec", {"kind": "python:3", "code": code})
        reply = self.client.put(f"/actions/{name}?overwrite=true", json=wire)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def invoke(self, name: str, **arguments: Any) -> httpx.Response:
        return self.client.post(f"/actions/{name}?blocking=true", json=arguments)

    def start(self, name: str, **arguments: Any) -> str:
        reply = self.client.post(f"/actions/{name}", json=arguments)
        assert reply.status_code == 202, reply.text
        return reply.json()["activationId"]

    def activation(self, activation_id: str) -> dict[str, Any]:
        def stored() -> dict[str, Any] | None:
            reply = self.client.get(f"/activations/{activation_id}")
            assert reply.status_code in (200, 404)
            return reply.json() if reply.status_code == 200 else None

        return wait_until(stored)


@contextlib.contextmanager
def user_of(access: ApiAccess, state_dir: Path) -> Iterator[User]:
    name, secret = access.auth.split(":")
    record = next(r for r in read_records(state_dir) if r.apihost == access.apihost)
    base = f"{access.apihost}/api/v1/namespaces/_"
    with httpx.Client(base_url=base, auth=(name, secret), timeout=70, trust_env=False) as client:
        yield User(client, record)


@contextlib.contextmanager
def platform(state_dir: Path, **options: Any) -> Iterator[User]:
    with start_embedded(EmbeddedOptions(state_dir=state_dir, **options)) as started:
        with user_of(started.access, state_dir) as user:
            yield user
        started.close()
        assert_nothing_left(user.record, state_dir)


def containers(record: PlatformRecord) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(CONTAINER_ENV, "").startswith(record.id):
                found.append(process)
    return found


def runs(pid: int) -> bool:
    """Whether the process lives; who buries an orphan, and when, is up to the machine."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_nothing_left(record: PlatformRecord, state_dir: Path) -> None:
    assert not record.alive
    assert not containers(record)
    assert record.cgroup is None or not Path(record.cgroup).exists()
    assert not Path(record.folder).exists()
    assert not any((state_dir / "platforms").iterdir())
    with pytest.raises(httpx.ConnectError):
        httpx.get(record.apihost, trust_env=False)


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with platform(tmp_path_factory.mktemp("state"), user_memory_mb=1024) as user:
        yield user


@pytest.fixture
def small(tmp_path: Path) -> Iterator[User]:
    """A platform with upstream's limits and room for two small containers."""
    with platform(tmp_path / "state", limits="stock", user_memory_mb=256) as user:
        yield user


def annotations(record: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: pair["value"] for pair in record["annotations"]}


def is_error(reply: httpx.Response, status: int, text: str) -> None:
    assert (reply.status_code, reply.json()["error"]) == (status, text)
    assert reply.json()["code"] == reply.headers["x-request-id"]


def failed(reply: httpx.Response, status: str, message: object) -> None:
    assert reply.status_code == 502
    response = reply.json()["response"]
    assert (response["status"], response["success"]) == (status, False)
    assert response["result"] == {"error": message}


# Answers that other platforms need not give.


def test_information(guest: User) -> None:
    host = guest.record.apihost
    assert httpx.get(f"{host}/ping", trust_env=False).text == "pong"
    info = httpx.get(host, trust_env=False).json()
    assert info["limits"]["max_action_memory"] == 4096 << 20
    assert info["limits"]["max_action_duration"] == 300_000
    assert info["capacity"]["user_memory_mb"] == 1024
    assert info["capacity"]["enforcement"] == guest.record.enforcement
    assert "python:3.11" in [kind["kind"] for kind in info["runtimes"]["python"]]
    assert httpx.get(f"{host}/api/v1", trust_env=False).json()["api_version_path"] == "v1"
    assert guest.client.get("/limits").json()["maxActionMemory"] == 4096


def test_routes_that_do_not_exist(guest: User) -> None:
    is_error(guest.client.get("/nowhere"), 404, "The requested resource could not be found.")
    # Within the API a wrong method is no route; outside of it the preflights' route shows through.
    reply = guest.client.post("/packages/p", json={})
    is_error(reply, 404, "The requested resource could not be found.")
    text = "HTTP method not allowed, supported methods: "
    is_error(
        httpx.post(f"{guest.record.apihost}/ping", trust_env=False), 405, f"{text}GET, OPTIONS"
    )
    outside = httpx.get(f"{guest.record.apihost}/nowhere", trust_env=False)
    is_error(outside, 405, f"{text}OPTIONS")
    preflight = httpx.options(f"{guest.record.apihost}/api/v1/bogus", trust_env=False)
    assert (preflight.status_code, preflight.text) == (200, "OK")
    assert preflight.headers["access-control-allow-origin"] == "*"


_NOT_FOUND = "The requested resource does not exist."


def test_a_blocking_invocation(guest: User) -> None:
    made = guest.put("echo")
    reply = guest.invoke("echo", x=1)
    record = reply.json()
    assert reply.status_code == 200
    assert reply.headers["x-openwhisk-activation-id"] == record["activationId"]
    assert record["logs"] == []
    size = len('{"x": 1}')
    result = {"x": 1}
    success = {"status": "success", "success": True, "result": result, "size": size}
    assert record["response"] == success
    assert record["duration"] == record["end"] - record["start"]
    facts = annotations(record)
    assert (facts["path"], facts["kind"], facts["timeout"]) == ("guest/echo", "python:3", False)
    assert facts["limits"] == made["limits"]
    assert facts["waitTime"] >= 0
    assert facts["initTime"] > 0
    assert 0 < facts["peakMemory"] < 128
    assert guest.activation(record["activationId"]) == record


def test_a_non_blocking_invocation(guest: User, tmp_path: Path) -> None:
    guest.put("wait", WAIT)
    until = tmp_path / "until"
    activation_id = guest.start("wait", until=str(until))
    is_error(guest.client.get(f"/activations/{activation_id}"), 404, _NOT_FOUND)
    until.touch()
    record = guest.activation(activation_id)
    assert record["response"]["success"]
    url = f"/activations/{activation_id}"
    assert guest.client.get(f"{url}/result").json() == record["response"]
    assert guest.client.get(f"{url}/logs").json() == {"logs": []}


def test_requests_that_are_refused(guest: User) -> None:
    guest.put("echo")
    post = guest.client.post
    is_error(
        post("/actions/echo?timeout=0", json={}),
        400,
        "The query parameter 'timeout' was malformed:\n"
        "Timeout must be number of milliseconds up to 60000.",
    )
    assert post("/actions/echo", json=[1]).status_code == 400
    assert post("/actions/echo", content="x=1").status_code == 415
    is_error(post("/actions/absent", json={}), 404, _NOT_FOUND)
    body = '{"x":"' + "x" * ((1 << 20) + 1 - len('{"x":""}')) + '"}'
    reply = post("/actions/echo", content=body, headers={"content-type": "application/json"})
    is_error(reply, 413, "Request larger than allowed: 1048577 > 1048576 bytes.")
    for constant in ("NaN", "1e999", '"\\ud800"'):
        json_type = {"content-type": "application/json"}
        strange = post("/actions/echo", content=f'{{"x":{constant}}}', headers=json_type)
        assert strange.status_code == 400


def test_a_zip_and_a_blackbox_image(guest: User) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("__main__.py", "from helper import go")
        bundle.writestr(
            "helper.py", "import numpy\ndef go(args): return {'two': int(numpy.add(1, 1))}"
        )
    code = base64.b64encode(buffer.getvalue()).decode()
    image = {"kind": "blackbox", "image": "disdel/runtime-base:1", "code": code, "main": "go"}
    made = guest.put("zip", exec=image, memory=256)
    assert made["exec"] == {**image, "binary": True}
    assert guest.invoke("zip").json()["response"]["result"] == {"two": 2}
    guest.put("unknown", exec={"kind": "blackbox", "image": "me/img:tag", "code": ECHO})
    reply = guest.invoke("unknown")
    failed(reply, "action developer error", "Failed to pull container image 'me/img:tag'.")


# Failures, and which of them cost the container.


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def main(args): return 'text'", "The action did not return a dictionary or array."),
        (
            "def main(args): return {'x': float('inf')}",
            "The action did not return a dictionary or array.",
        ),
        (
            "def main(args): return None",
            "The action did not produce a valid JSON or JSON Array response: null",
        ),
        ("def main(args): return {'x': {1}}", "command exited"),
        ("def main(args): import sys; sys.exit(1)", "command exited"),
        (
            "def main(args): import os; os._exit(1)",
            "The action did not produce a valid response and exited unexpectedly.",
        ),
        ("import os; os._exit(1)", "The action did not initialize and exited unexpectedly."),
        ("import nowhere", "Cannot start action. Check logs for details."),
        ("", "Missing main/no code to execute."),
    ],
)
def test_developer_errors_cost_the_container(guest: User, code: str, message: str) -> None:
    guest.put("faulty", code)
    for _ in range(2):
        reply = guest.invoke("faulty")
        failed(reply, "action developer error", message)
        assert "initTime" in annotations(reply.json())
    logs = guest.activation(reply.json()["activationId"])["logs"]
    assert logs[-1].endswith(
        "stderr: The action did not initialize or run as expected. Log data might be missing."
    )


def test_time_limits_kill(guest: User) -> None:
    code = "import time\ndef main(args): time.sleep(args.get('s', 0)); return {}"
    limits = {"memory": 128, "timeout": 500}
    guest.put("sleep", code, limits=limits)
    assert guest.invoke("sleep").status_code == 200
    reply = guest.invoke("sleep", s=60)
    failed(
        reply,
        "action developer error",
        "The action exceeded its time limits of 500 milliseconds.",
    )
    assert annotations(reply.json())["timeout"] is True
    assert "initTime" in annotations(guest.invoke("sleep").json())
    guest.put("slow", "import time; time.sleep(60)", limits=limits)
    failed(
        guest.invoke("slow"),
        "action developer error",
        "The action exceeded its time limits of 500 milliseconds during initialization.",
    )


def test_memory_limits_kill(guest: User) -> None:
    if not guest.record.enforcement.startswith("cgroup"):
        pytest.skip("no memory cgroup can be made here: the next test covers sampling")
    guest.put("eat", EAT)
    assert guest.invoke("eat", mb=64).json()["response"]["result"] == {"eaten": 64}
    reply = guest.invoke("eat")
    message = "The action exhausted its memory and was aborted."
    failed(reply, "action developer error", message)
    assert "initTime" in annotations(guest.invoke("eat", mb=1).json())
    guest.put("greedy", "eaten = [bytearray(1 << 20) for _ in range(2000)]")
    failed(guest.invoke("greedy"), "action developer error", message)


def test_memory_limits_by_sampling(tmp_path: Path) -> None:
    # The child eats, so that the whole tree must be seen.
    code = (
        "import subprocess, sys\n"
        "CHILD = 'x = bytearray(%d << 20); print(1, flush=True); input()'\n"
        "def main(args):\n"
        "    child = subprocess.Popen([sys.executable, '-c', CHILD % args['mb']],\n"
        "        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)\n"
        "    child.stdout.readline()\n"
        "    if args['mb'] > 128: child.wait()\n"
        "    child.communicate(b'\\n')\n"
        "    return {'limit': __import__('os').environ['DISDEL_MEMORY_LIMIT_BYTES']}\n"
    )
    with platform(tmp_path / "state", enforcement="sampling", user_memory_mb=256) as user:
        assert user.record.enforcement == "sampling"
        user.put("eat", code)
        within = user.invoke("eat", mb=10)
        assert within.json()["response"]["result"] == {"limit": str(128 << 20)}
        message = "The action exhausted its memory and was aborted."
        failed(user.invoke("eat", mb=200), "action developer error", message)


# The pool.


def test_warm_until_updated(guest: User) -> None:
    guest.put("where", WHERE)
    first, second = (guest.invoke("where").json() for _ in range(2))
    assert second["response"] == first["response"]
    assert "initTime" not in annotations(second)
    guest.put("where", WHERE)
    third = guest.invoke("where").json()
    assert "initTime" in annotations(third)
    assert third["response"]["result"] != first["response"]["result"]


def test_a_warm_container_that_died_is_replaced(guest: User) -> None:
    guest.put("dies", WHERE)
    pid = guest.invoke("dies").json()["response"]["result"]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not runs(pid))
    again = guest.invoke("dies").json()
    assert again["response"]["success"]
    assert again["response"]["result"]["pid"] != pid


def test_eviction_takes_the_least_recently_used(small: User) -> None:
    for name in ("a", "b", "c"):
        small.put(name, WHERE)
    first = {name: small.invoke(name).json()["response"]["result"]["pid"] for name in "ab"}
    small.invoke("a")
    small.invoke("c")
    assert not runs(first["b"])
    assert small.invoke("a").json()["response"]["result"]["pid"] == first["a"]
    assert len(containers(small.record)) == 2


def test_a_full_pool_queues(small: User, tmp_path: Path) -> None:
    small.put("wait", WAIT)
    small.put("where", WHERE)
    ends = [tmp_path / "end0", tmp_path / "end1"]
    marks = [tmp_path / "mark0", tmp_path / "mark1"]
    running = [
        small.start("wait", until=str(end), started=str(mark))
        for end, mark in zip(ends, marks, strict=True)
    ]
    wait_until(lambda: all(mark.exists() for mark in marks))
    assert len(containers(small.record)) == 2
    queued = small.start("where")
    later = small.start("where")
    assert small.client.get(f"/activations/{queued}").status_code == 404
    ends[0].touch()
    record = small.activation(queued)
    assert record["response"]["success"]
    assert annotations(record)["waitTime"] > 0
    assert small.activation(later)["start"] >= record["start"]
    ends[1].touch()
    pids = {small.activation(each)["response"]["result"]["pid"] for each in running}
    assert len(pids) == 2


def test_parallel_invocations_get_a_container_each(guest: User, tmp_path: Path) -> None:
    guest.put("wait", WAIT)
    until = tmp_path / "until"
    marks = [tmp_path / f"mark{number}" for number in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        replies = [
            threads.submit(guest.invoke, "wait", until=str(until), started=str(mark))
            for mark in marks
        ]
        wait_until(lambda: all(mark.exists() for mark in marks))
        until.touch()
        pids = {reply.result().json()["response"]["result"]["pid"] for reply in replies}
    assert len(pids) == 4


def test_an_action_above_the_user_memory(small: User) -> None:
    small.put("large", memory=512)
    reply = small.invoke("large")
    assert reply.status_code == 500
    response = reply.json()["response"]
    assert response["status"] == "whisk internal error"
    assert response["result"] == {"error": "Failed to provision resources to run the action."}


# Beginning and end.


def test_a_platform_that_is_killed_takes_its_containers_with_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with start_embedded(EmbeddedOptions(state_dir=state, user_memory_mb=512)) as started:
        with user_of(started.access, state) as user:
            user.put("wait", WAIT)
            mark = tmp_path / "mark"
            user.start("wait", until=str(tmp_path / "never"), started=str(mark))
            wait_until(mark.exists)
            # A process that left its container's session is found by its cgroup or its mark.
            user.put("escape", _ESCAPE)
            escaped = user.invoke("escape").json()["response"]["result"]["pid"]
            assert len(containers(user.record)) == 3
            os.kill(user.record.pid, signal.SIGKILL)
        wait_until(lambda: {p.pid for p in containers(user.record)} <= {escaped})
    assert user.record.cgroup is None or Path(user.record.cgroup).exists()
    with platform(state):
        assert not containers(user.record)
        assert user.record.cgroup is None or not Path(user.record.cgroup).exists()
        assert not Path(user.record.folder).exists()


_ESCAPE = (
    "import subprocess\n"
    "def main(args):\n"
    "    return {'pid': subprocess.Popen(['sleep', '600'], start_new_session=True).pid}\n"
)


def test_what_escapes_its_container_ends_with_the_platform(tmp_path: Path) -> None:
    for enforcement in ("auto", "sampling"):
        with platform(tmp_path / "state", enforcement=enforcement) as user:
            user.put("escape", _ESCAPE)
            pid = user.invoke("escape").json()["response"]["result"]["pid"]
            assert runs(pid)
        assert not runs(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    state = tmp_path / "state"
    with start_embedded(EmbeddedOptions(state_dir=state, user_memory_mb=256)) as started:
        with user_of(started.access, state) as user:
            user.put("wait", WAIT)
            mark = tmp_path / "mark"
            with concurrent.futures.ThreadPoolExecutor(1) as threads:
                never = str(tmp_path / "never")
                waiting = threads.submit(user.invoke, "wait", until=never, started=str(mark))
                wait_until(mark.exists)
                os.kill(user.record.pid, number)
                assert waiting.result().status_code == 502
        wait_until(lambda: not user.record.alive)
        assert_nothing_left(user.record, state)


def test_the_end_of_its_input_ends_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    started: EmbeddedPlatform = start_embedded(EmbeddedOptions(state_dir=state))
    with user_of(started.access, state) as user:
        user.put("echo")
        assert user.invoke("echo").status_code == 200
        started.close()
        started.close()
        assert_nothing_left(user.record, state)


def test_a_start_that_fails_quotes_the_log(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with (
        platform(state) as user,
        pytest.raises(PlatformError, match=r"(?s)did not start: ended with status 1.*in use"),
    ):
        start_embedded(EmbeddedOptions(state_dir=tmp_path / "other", port=user.record.port))


def test_up_status_and_down(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert embedded.find_running(state) is None
    assert embedded.platform_down(state) is None
    options = EmbeddedOptions(state_dir=state, limits="stock", user_memory_mb=300)
    up = embedded.platform_up(options)
    try:
        assert embedded.find_running(state) == up.access
        assert embedded.platform_status(state) == up
        assert (up.limits, up.user_memory_mb) == ("stock", 300)
        with pytest.raises(UsageError, match="already running"):
            embedded.platform_up(options)
        # One that belongs to a command is not for others to find.
        with platform_beside(state) as private:
            assert embedded.find_running(state) == up.access
            assert private.access != up.access
        with user_of(up.access, state) as user:
            user.put("echo")
            assert user.invoke("echo").status_code == 200
    finally:
        assert embedded.platform_down(state) == up
    assert_nothing_left(user.record, state)


@contextlib.contextmanager
def platform_beside(state: Path) -> Iterator[EmbeddedPlatform]:
    with start_embedded(EmbeddedOptions(state_dir=state)) as started:
        yield started


def test_the_command_prints_how_to_connect(tmp_path: Path) -> None:

    command = [sys.executable, "-m", "disdel.embedded", "--stop-on-eof", "--user-memory=200"]
    environment = {**os.environ, "DISDEL_STATE_DIR": str(tmp_path / "state")}
    said = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=True
    )
    facts = json.loads(said.stdout)
    assert facts["apihost"] == f"http://127.0.0.1:{facts['port']}"
    assert len(facts["auth"].partition(":")[2]) == 64
    assert facts["user_memory_mb"] == 200
    assert facts["limits"] == "roomy"
    assert not any((tmp_path / "state" / "platforms").iterdir())


# Stem cells, growth, and what outlives a platform.


def test_a_stem_cell_is_taken_and_replaced(tmp_path: Path) -> None:
    prewarm = ("python:3:128:1", "disdel/runtime-base:256:1")
    image = {"kind": "blackbox", "image": "disdel/runtime-base:1", "code": WHERE}
    with platform(tmp_path / "state", user_memory_mb=8192, prewarm=prewarm) as user:

        def pids() -> set[int]:
            return {process.pid for process in containers(user.record)}

        cells = wait_until(lambda: len(found := pids()) == 2 and found)
        names = (f"where{number}" for number in itertools.count())
        used = set()

        def of_a_cell(**wire: Any) -> dict[str, Any] | None:
            """The record of a new action, if its container is one of the first stem cells."""
            name = next(names)
            user.put(name, WHERE, **wire)
            record = user.invoke(name).json()
            pid = record["response"]["result"]["pid"]
            used.add(pid)
            return record if pid in cells else None

        # One of another size is of no use.
        assert not of_a_cell(memory=256)
        # Nobody waits for one that is not ready yet.
        record = wait_until(of_a_cell)
        assert "initTime" in annotations(record)
        assert wait_until(lambda: of_a_cell(exec=image, memory=256))
        # Two that nobody has used have taken the places of the first.
        wait_until(lambda: len(pids() - used) == 2)


@pytest.mark.parametrize(
    ("prewarm", "why"),
    [
        (("python:3:256:9",), r"need 2304 MB, and all containers together may have 1024 MB"),
        (("ruby:2:256:1",), r"'ruby:2:256:1' is not KIND_OR_IMAGE:MB:COUNT"),
    ],
)
def test_stem_cells_that_cannot_be(tmp_path: Path, prewarm: tuple[str, ...], why: str) -> None:
    options = EmbeddedOptions(state_dir=tmp_path, limits="stock", prewarm=prewarm)
    with pytest.raises(UsageError, match=why):
        start_embedded(options)


# Takes memory step by step; near its limit it pauses, so that the limit may grow meanwhile.
HUNGRY = (
    "import json, os, time\n"
    "def main(args):\n"
    "    eaten = []\n"
    "    for _ in range(args['mb'] // 8):\n"
    "        eaten.append(bytearray(b'x' * (8 << 20)))\n"
    "        time.sleep(0.02)\n"
    "        pauses = 0\n"
    "        while critical() and pauses < args['pauses']:\n"
    "            pauses += 1\n"
    "            time.sleep(0.02)\n"
    "        if critical() and args['stops']: return {'eaten': len(eaten) * 8, 'stopped': True}\n"
    "    return {'eaten': len(eaten) * 8, 'stopped': False}\n"
    "def critical():\n"
    "    with open(os.environ['__OW_MEMORY_STATE']) as state: return json.load(state)['critical']\n"
)


@pytest.mark.parametrize("enforcement", ["auto", "sampling"])
def test_a_container_grows_out_of_its_limit(tmp_path: Path, enforcement: str) -> None:
    options = {"enforcement": enforcement, "user_memory_mb": 768}
    with platform(tmp_path / "state", grow_to_mb=640, **options) as user:
        user.put("hungry", HUNGRY, memory=256)
        eaten = user.invoke("hungry", mb=400, pauses=500, stops=False).json()
        assert eaten["response"]["result"] == {"eaten": 400, "stopped": False}
        facts = annotations(eaten)
        assert facts["grownMemory"] == 512
        assert facts["peakMemory"] > 256
        # It keeps what it has: no second container of 512 MB fits beside it.
        again = user.invoke("hungry", mb=8, pauses=0, stops=False).json()
        assert "initTime" not in annotations(again)
        assert annotations(again)["grownMemory"] == 512
        user.put("other", WHERE, memory=512)
        user.invoke("other")
        assert "initTime" in annotations(user.invoke("hungry", mb=8, pauses=0, stops=False).json())


def test_nothing_grows_by_itself(guest: User) -> None:
    guest.put("hungry", HUNGRY, memory=128)
    message = "The action exhausted its memory and was aborted."
    failed(guest.invoke("hungry", mb=400, pauses=0, stops=False), "action developer error", message)


def test_growth_is_refused_when_the_pool_is_full(tmp_path: Path) -> None:
    with platform(tmp_path / "state", grow_to_mb=1024, user_memory_mb=512) as user:
        user.put("hungry", HUNGRY, memory=256)
        user.put("wait", WAIT, memory=256)
        mark, until = tmp_path / "mark", tmp_path / "until"
        running = user.start("wait", until=str(until), started=str(mark))
        wait_until(mark.exists)
        # One that cooperates sees that memory is critical, and is not killed.
        stopped = user.invoke("hungry", mb=400, pauses=5, stops=True).json()
        assert stopped["response"]["result"]["stopped"]
        assert "grownMemory" not in annotations(stopped)
        message = "The action exhausted its memory and was aborted."
        reply = user.invoke("hungry", mb=400, pauses=5, stops=False)
        failed(reply, "action developer error", message)
        until.touch()
        user.activation(running)
        # The other container is free now, and makes room.
        grown = user.invoke("hungry", mb=400, pauses=500, stops=False).json()
        assert grown["response"]["result"]["eaten"] == 400
        assert annotations(grown)["grownMemory"] == 512


def test_growth_beyond_what_an_action_may_have(tmp_path: Path) -> None:
    options = EmbeddedOptions(state_dir=tmp_path, limits="stock", grow_to_mb=513)
    with pytest.raises(UsageError, match="cannot grow to 513 MB where an action may have 512"):
        start_embedded(options)


def test_a_container_that_shuts_down_is_left(guest: User) -> None:
    # From its second activation on the container answers 503, which the platform takes for that.
    code = (
        "import http.server, os\n"
        "answer = http.server.BaseHTTPRequestHandler.send_response\n"
        "runs = 0\n"
        "def main(args):\n"
        "    global runs\n"
        "    runs += 1\n"
        "    leaves = runs > 1\n"
        "    def send_response(self, code, message=None):\n"
        "        return answer(self, 503 if leaves else code, message)\n"
        "    http.server.BaseHTTPRequestHandler.send_response = send_response\n"
        "    return {'pid': os.getpid()}\n"
    )
    guest.put("leaves", code)
    first, second = (guest.invoke("leaves").json() for _ in range(2))
    assert second["response"]["success"]
    assert second["response"]["result"] != first["response"]["result"]
    assert "initTime" in annotations(second)


def test_state_outlives_the_platform(tmp_path: Path) -> None:
    state, kept = tmp_path / "state", tmp_path / "kept"
    with platform(state, state=kept) as user:
        user.client.put("/packages/p", json={"parameters": [{"key": "x", "value": 1}]})
        binding = {"binding": {"namespace": "_", "name": "p"}}
        user.client.put("/packages/bound", json=binding)
        parameters = [{"key": "y", "value": {"z": [1, None]}, "init": True}]
        user.put("p/a", parameters=parameters, memory=256)
        steps = {"kind": "sequence", "components": ["/_/p/a"]}
        user.put("s", exec=steps)
        user.client.put("/triggers/t", json={})
        user.client.put("/rules/r", json={"trigger": "/_/t", "action": "/_/s"})
        user.put("gone")
        user.client.delete("/actions/gone")
        ended = user.invoke("bound/a").json()
        user.invoke("s")
        user.client.post("/triggers/t", json={})
        wait_until(lambda: len(user.client.get("/activations").json()) == 6)
        before = [user.client.get(path).json() for path in _SHOWN]
        auth = user.record.auth
    with platform(state, state=kept) as user:
        assert user.record.auth == auth
        assert [user.client.get(path).json() for path in _SHOWN] == before
        assert user.activation(ended["activationId"])["response"] == ended["response"]
        user.client.delete("/packages/p?force=true")
    with platform(state, state=kept) as user:
        assert [package["name"] for package in user.client.get("/packages").json()] == ["bound"]


_SHOWN = (
    "/packages",
    "/actions",
    "/triggers",
    "/rules",
    "/packages/bound",
    "/actions/bound/a",
    "/actions/s",
    "/triggers/t",
    "/rules/r",
    "/activations?docs=true",
)


def test_state_is_for_one_platform_at_a_time(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    other = EmbeddedOptions(state_dir=tmp_path / "other", state=kept)
    with (
        platform(tmp_path / "state", state=kept),
        pytest.raises(PlatformError, match="is in use by another platform"),
    ):
        start_embedded(other)


def test_damaged_state_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with platform(tmp_path / "state", state=kept) as user:
        user.put("a")
    file = kept / "platform.sqlite"
    assert file.stat().st_mode & 0o077 == 0
    file.write_bytes(b"no database" * 1000)
    options = EmbeddedOptions(state_dir=tmp_path / "state", state=kept)
    with pytest.raises(PlatformError, match=r"is damaged \(.*\): move the file away"):
        start_embedded(options)
    assert file.exists()
