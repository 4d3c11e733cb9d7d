"""Apache's own JavaScript client against the embedded platform."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from tests.support import SUPPORT
from tests.support.waiting import wait_until

VERSION = "3.21.9"
DRIVER = SUPPORT / "openwhisk_js_driver.js"
ECHO = "def main(args): return args"
KIND = "python:3.11"


class Refused(Exception):
    """The client has raised an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.status = error.get("status")
        self.body = error.get("body")


class Client:
    """`client("actions", "list", limit=1)` is the client's `actions.list({limit: 1})`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, resource: str, method: str, **options: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([resource, method, options]) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        if "error" in reply:
            raise Refused(reply["error"])
        return reply.get("result")


@pytest.fixture(scope="session")
def package_folder() -> Path:
    """The client, installed once beside the Python packages."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("npm and node are needed for Apache's JavaScript client")
    folder = Path(sys.prefix) / "js" / f"openwhisk-{VERSION}"
    installed = folder / "node_modules" / "openwhisk"
    if not (installed / "package.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", f"openwhisk@{VERSION}"]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode != 0:
            pytest.skip(f"npm cannot install the client: {done.stderr.strip()[-300:]}")
    return installed


@pytest.fixture(scope="module")
def client(package_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    options = EmbeddedOptions(state_dir=tmp_path_factory.mktemp("state"), user_memory_mb=512)
    with start_embedded(options) as platform:
        process = subprocess.Popen(
            ["node", str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "OPENWHISK_CLIENT": str(package_folder),
                "TEST_APIHOST": platform.access.apihost,
                "TEST_KEY": platform.access.auth,
            },
        )
        with process:
            yield Client(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(30) == 0


def stored(client: Client, activation_id: str) -> Any:
    """The record of an activation, which is there some time after its answer."""

    def found() -> Any:
        try:
            return client("activations", "get", name=activation_id)
        except Refused as refused:
            if refused.status != 404:
                raise
            return None

    return wait_until(found)


def create(client: Client, name: str, code: str = ECHO, **options: Any) -> Any:
    limits = {"memory": 128}
    return client("actions", "update", name=name, kind=KIND, action=code, limits=limits, **options)


def bundle() -> dict[str, str]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", "from helper import double as main")
        archive.writestr("helper.py", "def double(args): return {'n': 2 * args['n']}")
    return {"$base64": base64.b64encode(buffer.getvalue()).decode()}


def test_packages(client: Client) -> None:
    made = client("packages", "create", name="shelf", package={"publish": True})
    assert (made["name"], made["version"]) == ("shelf", "0.0.1")
    assert client("packages", "update", name="shelf")["version"] == "0.0.2"
    create(client, "shelf/a")
    assert [each["name"] for each in client("packages", "get", name="shelf")["actions"]] == ["a"]
    assert "shelf" in [each["name"] for each in client("packages", "list")]
    with pytest.raises(Refused, match="Package not empty"):
        client("packages", "delete", name="shelf")
    client("actions", "delete", name="shelf/a")
    assert client("packages", "delete", name="shelf")["name"] == "shelf"


def test_an_action_from_a_zip(client: Client) -> None:
    made = client("actions", "create", name="zipped", kind=KIND, action=bundle())
    assert made["exec"]["binary"] is True
    with pytest.raises(Refused, match="resource already exists") as again:
        client("actions", "create", name="zipped", kind=KIND, action=bundle())
    assert again.value.status == 409
    call = {"name": "zipped", "params": {"n": 21}}
    assert client("actions", "invoke", **call, blocking=True, result=True) == {"n": 42}
    record = client("actions", "invoke", **call, blocking=True)
    assert record["response"]["result"] == {"n": 42}
    shown = client("actions", "get", name="zipped", code=False)
    assert "code" not in shown["exec"]
    assert client("actions", "delete", name="zipped")["name"] == "zipped"
    with pytest.raises(Refused, match="does not exist") as gone:
        client("actions", "get", name="zipped")
    assert gone.value.status == 404


def test_updates(client: Client) -> None:
    create(client, "changing", params={"a": 1})
    changed = create(client, "changing", params={"b": 2}, version="1.2.3")
    assert changed["version"] == "1.2.3"
    assert changed["parameters"] == [{"key": "b", "value": 2}]
    assert len(client("actions", "list", limit=1)) == 1


def test_activations(client: Client) -> None:
    create(client, "talks", "def main(args):\n    print('said')\n    return args")
    record = client("actions", "invoke", name="talks", blocking=True, params={"x": 1})
    activation_id = record["activationId"]
    assert stored(client, activation_id)["duration"] == record["duration"]
    assert client("activations", "result", name=activation_id)["result"] == {"x": 1}
    [line] = client("activations", "logs", name=activation_id)["logs"]
    assert line.endswith("stdout: said")
    listed = client("activations", "list", limit=1)
    assert [each["activationId"] for each in listed] == [activation_id]


def test_not_blocking(client: Client) -> None:
    create(client, "echo")
    started = client("actions", "invoke", name="echo", params={"x": 1})
    assert list(started) == ["activationId"]


def test_errors(client: Client) -> None:
    create(client, "fails", "def main(args): return {'error': 'no luck'}")
    with pytest.raises(Refused, match="no luck") as failed:
        client("actions", "invoke", name="fails", blocking=True)
    assert failed.value.status == 502
    create(client, "exits", "import sys\ndef main(args): sys.exit(1)")
    with pytest.raises(Refused, match="command exited"):
        client("actions", "invoke", name="exits", blocking=True)
    with pytest.raises(Refused, match="is not supported by this platform"):
        client("actions", "create", name="foreign", kind="cobol:1", action="x")
    with pytest.raises(Refused, match="exceeds allowed threshold"):
        client("actions", "create", name="big", action=ECHO, kind=KIND, limits={"memory": 9999})


def test_sequences(client: Client) -> None:
    create(client, "add", "def main(args): return {'n': args['n'] + 1}")
    made = client("actions", "create", name="twice", sequence=["/_/add", "/_/add"])
    assert made["exec"]["components"] == ["/guest/add", "/guest/add"]
    call = {"name": "twice", "params": {"n": 1}, "blocking": True}
    assert client("actions", "invoke", **call, result=True) == {"n": 3}
    record = client("actions", "invoke", **call)
    assert len(record["logs"]) == 2


def test_triggers_and_rules(client: Client) -> None:
    create(client, "heard")
    client("triggers", "create", name="bell")
    rule = client("rules", "create", name="on-bell", action="heard", trigger="bell")
    assert rule["status"] == "active"
    fired = client("triggers", "invoke", name="bell", params={"x": 1})
    stored(client, fired["activationId"])
    logs = client("activations", "logs", name=fired["activationId"])["logs"]
    assert json.loads(logs[0])["success"] is True
    client("rules", "disable", name="on-bell")
    assert client("rules", "get", name="on-bell")["status"] == "inactive"
    assert "activationId" not in client("triggers", "invoke", name="bell")
    client("rules", "enable", name="on-bell")
    client("rules", "delete", name="on-bell")
    client("triggers", "delete", name="bell")


def test_namespaces(client: Client) -> None:
    assert client("namespaces", "list") == ["guest"]
