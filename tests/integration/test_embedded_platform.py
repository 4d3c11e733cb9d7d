"""The embedded platform over HTTP: OpenWhisk's answers, real limits, and nothing left behind."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import io
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
from disdel.embedded.isolation import CONTAINER_ENV
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


# The information pages, authentication, and the envelope.


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


def test_namespaces_and_cors(guest: User) -> None:
    reply = guest.client.get(f"{guest.record.apihost}/api/v1/namespaces")
    assert reply.json() == ["guest"]
    assert len(reply.headers["x-request-id"]) == 32
    assert reply.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        (None, "The resource requires authentication, which was not supplied with the request"),
        ("Basic " + base64.b64encode(b"a:b").decode(), "The supplied authentication is invalid"),
        ("Basic ???", "The supplied authentication is invalid"),
        ("Basic \xe9", "The supplied authentication is invalid"),
        ("Bearer x", "The supplied authentication is invalid"),
    ],
)
def test_authentication(guest: User, authorization: str | None, text: str) -> None:
    headers = {"authorization": authorization.encode("latin-1")} if authorization else {}
    url = f"{guest.record.apihost}/api/v1/namespaces"
    reply = httpx.get(url, headers=headers, trust_env=False)
    is_error(reply, 401, text)
    assert reply.headers["www-authenticate"].startswith("Basic ")


def test_transaction_ids(guest: User) -> None:
    reply = guest.client.get("/packages/absent", headers={"x-request-id": "abc"})
    is_error(reply, 404, "The requested resource does not exist.")
    assert reply.json()["code"] == "abc"
    other = guest.client.get("/packages/absent", headers={"x-request-id": "sid_abc"})
    assert other.json()["code"] != "sid_abc"


def test_routes_that_do_not_exist(guest: User) -> None:
    is_error(guest.client.get("/nowhere"), 404, "The requested resource could not be found.")
    reply = guest.client.post("/packages/p", json={})
    assert reply.status_code == 405
    assert reply.json()["error"].startswith("HTTP method not allowed, supported methods: ")


def test_other_namespaces(guest: User) -> None:
    base = f"{guest.record.apihost}/api/v1/namespaces/other"
    denied = "The supplied authentication is not authorized to access "
    is_error(guest.client.get(f"{base}/actions"), 403, f"{denied}'other'.")
    is_error(guest.client.get(f"{base}/actions/p/a"), 403, f"{denied}'other/p/a'.")
    assert guest.client.get(f"{base}/packages").json() == []


# Packages and actions.


def test_a_package_is_made_once_and_updated(guest: User) -> None:
    client = guest.client
    first = client.put("/packages/pkg", json={"publish": True})
    assert (first.status_code, first.json()["version"]) == (200, "0.0.1")
    is_error(client.put("/packages/pkg", json={}), 409, "resource already exists")
    wire = {"parameters": [{"key": "x", "value": {"deep": [1, None]}}]}
    second = client.put("/packages/pkg?overwrite=true", json=wire).json()
    assert (second["version"], second["publish"]) == ("0.0.2", True)
    assert client.get("/packages/pkg").json() == {**second, "actions": [], "feeds": []}
    reserved = client.put("/packages/default", json={})
    is_error(reserved, 400, "Package name 'default' is reserved.")


def test_a_package_lists_and_keeps_its_actions(guest: User) -> None:
    client = guest.client
    client.put("/packages/full", json={})
    guest.put("full/a")
    guest.put("full/feed", annotations=[{"key": "feed", "value": True}])
    package = client.get("/packages/full").json()
    assert [action["name"] for action in package["actions"]] == ["a"]
    assert [action["name"] for action in package["feeds"]] == ["feed"]
    listed = client.get("/actions/full/").json()
    assert [action["name"] for action in listed] == ["feed", "a"]
    assert listed[0]["exec"] == {"binary": False}
    assert {"full"} <= {package["name"] for package in client.get("/packages").json()}
    is_error(
        client.delete("/packages/full"),
        409,
        "Package not empty (contains 2 entities). Set force param or delete package contents.",
    )
    assert client.delete("/packages/full?force=true").status_code == 200
    assert client.get("/actions/full/a").status_code == 404


def test_names_are_shared_between_collections(guest: User) -> None:
    client = guest.client
    client.put("/packages/shared", json={})
    text = "Resource by this name exists but is not in this collection."
    action = {"exec": {"kind": "python:3", "code": ECHO}}
    is_error(client.put("/actions/shared", json=action), 409, text)
    is_error(client.get("/actions/shared"), 409, text)
    guest.put("taken")
    is_error(client.put("/packages/taken", json={}), 409, text)


def test_actions_that_cannot_be_made(guest: User) -> None:
    client = guest.client
    action = {"exec": {"kind": "python:3", "code": ECHO}}
    is_error(client.put("/actions/nopkg/a", json=action), 404, _NOT_FOUND)
    is_error(client.put("/actions/b", json={}), 400, "exec undefined")
    is_error(client.put("/actions/b"), 400, "Request entity expected but not supplied")
    limited = client.put("/actions/b", json={**action, "limits": {"memory": 4097}})
    text = "requirement failed: memory size 4097 MB exceeds allowed threshold of 4096 MB"
    is_error(limited, 400, text)
    kind = client.put("/actions/b", json={"exec": {"kind": "foo:1", "code": ""}})
    assert kind.status_code == 400
    assert "The specified runtime 'foo:1' is not supported by this platform." in kind.text
    broken = client.put("/actions/b", content="{", headers={"content-type": "application/json"})
    assert broken.json()["error"].startswith("The request content was malformed:\n")
    text = client.put("/actions/b", content="{}", headers={"content-type": "text/plain"})
    assert text.status_code == 415
    assert "[text/plain] is not supported. Expected:\napplication/json" in text.json()["error"]
    is_error(client.get("/actions/@"), 400, "The name of the entity contains illegal characters.")


_NOT_FOUND = "The requested resource does not exist."


def test_code_above_48_mib(guest: User) -> None:
    code = "#" * (48 * (1 << 20) + 1)
    reply = guest.client.put("/actions/b", json={"exec": {"kind": "python:3", "code": code}})
    is_error(reply, 413, "exec larger than allowed: 50331649 > 50331648 bytes.")


def test_code_is_shown_on_demand(guest: User) -> None:
    guest.put("shown")
    whole = guest.client.get("/actions/shown").json()
    without = guest.client.get("/actions/shown?code=false").json()
    assert whole["exec"].pop("code") == ECHO
    assert without == whole
    is_error(
        guest.client.get("/actions/shown?code=perhaps"),
        400,
        "The query parameter 'code' was malformed:\n'perhaps' is not a valid Boolean value",
    )


def test_lists_are_paged(guest: User) -> None:
    for number in range(3):
        guest.put(f"listed{number}")
    client = guest.client
    everything = client.get("/actions?limit=0").json()
    assert [action["name"] for action in everything[:3]] == ["listed2", "listed1", "listed0"]
    assert client.get("/actions?limit=1&skip=1").json()[0]["name"] == "listed1"
    assert client.get("/actions?count=true").json() == {"actions": len(everything)}
    assert client.get("/actions?limit=201").status_code == 400


def test_parameters_are_inherited(guest: User) -> None:
    client = guest.client
    client.put("/packages/heir", json={"parameters": [{"key": "x", "value": 1}]})
    guest.put("heir/a", parameters=[{"key": "y", "value": 2}])
    shown = client.get("/actions/heir/a").json()["parameters"]
    assert shown == [{"key": "x", "value": 1}, {"key": "y", "value": 2}]
    assert guest.invoke("heir/a", x=9).json()["response"]["result"] == {"x": 9, "y": 2}


def test_final_parameters(guest: User) -> None:
    final = [{"key": "final", "value": True}]
    guest.put("final", annotations=final, parameters=[{"key": "x", "value": 1}])
    assert guest.invoke("final", y=1).json()["response"]["result"] == {"x": 1, "y": 1}
    text = "Request defines parameters that are not allowed (e.g., reserved properties)."
    is_error(guest.invoke("final", x=2), 400, text)


def test_init_parameters_are_environment(guest: User) -> None:
    code = "import os\nSEEN = os.environ['SIZE']\ndef main(args): return {**args, 'seen': SEEN}"
    guest.put("init", code, parameters=[{"key": "SIZE", "value": [1, {"a": 2}], "init": True}])
    assert guest.invoke("init", x=1).json()["response"]["result"] == {
        "x": 1,
        "seen": '[1,{"a":2}]',
    }


# Invocations.


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


def test_only_the_result(guest: User) -> None:
    guest.put("echo")
    url = "/actions/echo?blocking=true&result=true"
    assert guest.client.post(url, json={"a": "ü"}).json() == {"a": "ü"}
    assert guest.client.post(url).json() == {}


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


def test_a_blocking_wait_that_elapses(guest: User, tmp_path: Path) -> None:
    guest.put("wait", WAIT)
    until = tmp_path / "until"
    url = "/actions/wait?blocking=true&timeout=100"
    reply = guest.client.post(url, json={"until": str(until)})
    assert reply.status_code == 202
    until.touch()
    assert guest.activation(reply.json()["activationId"])["response"]["success"]


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


def test_what_an_action_knows_of_itself(guest: User) -> None:
    code = "import os\ndef main(args): return dict(os.environ)"
    guest.client.put("/packages/known", json={})
    guest.put("known/a", code)
    result = guest.invoke("known/a").json()["response"]["result"]
    assert result["__OW_ACTION_NAME"] == "/guest/known/a"
    assert result["__OW_NAMESPACE"] == "guest"
    assert result["__OW_ACTION_VERSION"] == "0.0.1"
    assert result["__OW_API_HOST"] == guest.record.apihost
    assert abs(int(result["__OW_DEADLINE"]) / 1000 - 60 - time.time()) < 30
    assert "__OW_API_KEY" not in result
    assert "DISDEL_PARENT_PID" not in result
    guest.put("known/a", code, annotations=[{"key": "provide-api-key", "value": True}])
    key = guest.invoke("known/a").json()["response"]["result"]["__OW_API_KEY"]
    assert key == guest.record.auth


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


def test_logs(guest: User) -> None:
    code = (
        "import sys\nprint('imported')\n"
        "def main(args):\n    print('hello')\n    print('oops', file=sys.stderr)\n    return {}"
    )
    guest.put("talk", code)
    record = guest.invoke("talk").json()
    lines = guest.client.get(f"/activations/{record['activationId']}/logs").json()["logs"]
    assert {line[31:] for line in lines} == {"stdout: imported", "stdout: hello", "stderr: oops"}
    again = guest.activation(guest.invoke("talk").json()["activationId"])
    assert {line[31:] for line in again["logs"]} == {"stdout: hello", "stderr: oops"}


def test_activations_are_listed(guest: User) -> None:
    client = guest.client
    client.put("/packages/listed", json={})
    guest.put("listed/a")
    first = guest.invoke("listed/a").json()
    second = guest.invoke("listed/a").json()
    assert client.get("/activations?name=a").json() == []
    found = client.get("/activations?name=listed/a").json()
    assert [row["activationId"] for row in found] == [
        second["activationId"],
        first["activationId"],
    ]
    assert found[0]["statusCode"] == 0
    assert "response" not in found[0]
    since = f"/activations?name=listed/a&since={second['start']}"
    assert second["activationId"] in client.get(since).text
    assert client.get(f"{since}&docs=true").json()[0]["response"]["success"]
    assert client.get(f"{since}&count=true").json()["activations"] >= 1
    upto = f"/activations?name=listed/a&upto={first['start']}"
    assert first["activationId"] in client.get(upto).text
    is_error(
        client.get("/activations?count=true&docs=true"),
        400,
        "The parameter 'docs' is not permitted with 'count'.",
    )
    is_error(client.get("/activations/abcde"), 400, "Activation id length is 5 but must be 32.")
    is_error(client.get("/activations/" + "X" * 32), 400, "The activation id is not valid.")


# Failures, and which of them cost the container.


def test_application_errors_keep_the_container(guest: User) -> None:
    guest.put("refuse", "def main(args): return {'error': {'k': 1}}")
    failed(guest.invoke("refuse"), "application error", {"k": 1})
    assert "initTime" not in annotations(guest.invoke("refuse").json())
    guest.put("raise", "def main(args): raise ValueError('too bad')")
    failed(guest.invoke("raise"), "application error", "too bad")
    again = guest.invoke("raise").json()
    assert "initTime" not in annotations(again)
    assert "Traceback" in str(guest.activation(again["activationId"])["logs"])
    guest.put("long", "def main(args): return {'x': 'x' * (2 << 20)}")
    reply = guest.invoke("long")
    size = (2 << 20) + len('{"x": ""}')
    assert reply.json()["response"]["status"] == "application error"
    assert reply.json()["response"]["result"]["error"].startswith(
        "The action produced a response that exceeded the allowed length: "
        f"{size} > 1048576 bytes. The truncated response was: {{"
    )
    assert "initTime" not in annotations(guest.invoke("long").json())


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


def test_throttles(small: User, tmp_path: Path) -> None:
    small.put("wait", WAIT)
    until = tmp_path / "until"
    started = [small.start("wait", until=str(until)) for _ in range(30)]
    reply = small.client.post("/actions/wait", json={"until": str(until)})
    text = "Too many concurrent requests in flight (count: 30, allowed: 30)."
    is_error(reply, 429, text)
    assert "x-openwhisk-activation-id" not in reply.headers
    until.touch()
    for activation_id in started:
        assert small.activation(activation_id)["response"]["success"]


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
