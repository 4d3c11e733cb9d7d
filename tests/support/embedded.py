"""Driving an embedded platform over HTTP, and seeing what it leaves behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from disdel.platforms.embedded.finding import platform_down
from disdel.platforms.embedded.launching import platform_up, start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.platforms.openwhisk.access import ApiAccess
from openwhisk_local.containers.isolation import CONTAINER_ENV
from openwhisk_local.records import PlatformRecord, read_records
from tests.support import local_http
from tests.support.processes import seen
from tests.support.waiting import wait_until

OURS = "disdel/runtime-base"
ECHO = "def main(args): return args"
WHERE = "import os\ndef main(args): return {'container': os.environ['DISDEL_CONTAINER']}"
# Ends when the file named by its argument appears.
WAIT = (
    "import os, pathlib, time\n"
    "def main(args):\n"
    "    if 'started' in args: pathlib.Path(args['started']).touch()\n"
    "    while not os.path.exists(args['until']): time.sleep(0.01)\n"
    "    return {'container': os.environ['DISDEL_CONTAINER']}\n"
)
EAT = (
    "def main(args):\n"
    "    eaten = []\n"
    "    while len(eaten) < args.get('mb', 2000): eaten.append(bytearray(1 << 20))\n"
    "    return {'eaten': len(eaten)}\n"
)


@dataclass(frozen=True)
class User:
    """A user of a platform, as far as the tests need one."""

    client: httpx.Client
    record: PlatformRecord
    last: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, code: str = ECHO, **wire: Any) -> dict[str, Any]:
        memory = wire.pop("memory", 128)
        wire.setdefault("limits", {"memory": memory})
        # The stock kind, or one of our images, whose proxy ends with the action.
        image = wire.pop("image", None)
        kind = {"kind": "blackbox", "image": image} if image else {"kind": "python:3"}
        wire.setdefault("exec", {**kind, "code": code})
        reply = self.client.put(f"/actions/{name}?overwrite=true", json=wire)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def invoke(self, name: str, **arguments: Any) -> httpx.Response:
        """A blocking invocation, begun when the last one has left its container."""
        if name in self.last:
            self.activation(self.last.pop(name))
        reply = self.client.post(f"/actions/{name}?blocking=true", json=arguments)
        if activation_id := reply.headers.get("x-openwhisk-activation-id"):
            self.last[name] = activation_id
        return reply

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


@contextlib.contextmanager
def shared_platform(state_dir: Path) -> Iterator[None]:
    """A platform for all commands with this state directory: it imports a framework once."""
    platform_up(EmbeddedOptions(state_dir=state_dir))
    try:
        yield
    finally:
        platform_down(state_dir)


def containers(record: PlatformRecord) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(CONTAINER_ENV, "").startswith(record.id):
                found.append(process)
    return found


def commands(record: PlatformRecord) -> list[str]:
    """The command lines of what runs in containers."""
    return [" ".join(words) for words in seen(containers(record), psutil.Process.cmdline)]


def marks(record: PlatformRecord) -> list[str]:
    """To which container each of the platform's processes belongs; of one that ends, nothing."""
    environments = seen(containers(record), psutil.Process.environ)
    return [each[CONTAINER_ENV] for each in environments if CONTAINER_ENV in each]


def template(record: PlatformRecord) -> str:
    """The mark of the processes that containers are forked off, and of what they leave outside."""
    return f"{record.id}-template"


def proxies(record: PlatformRecord) -> dict[str, psutil.Process]:
    """The process that serves each container, by the container's id."""
    found = {}
    for process in containers(record):
        with contextlib.suppress(psutil.Error, OSError):
            # The environment of one that ends is empty.
            command, container = process.cmdline(), process.environ().get(CONTAINER_ENV)
            # One that is forked has the command line of its template.
            serves = "--fd" in command or ("--forks" in command and container != template(record))
            if container and serves and Path(command[0]).name.startswith(("python", "node")):
                found[container] = process
    return found


def running(mark: str) -> list[psutil.Process]:
    """The processes with that argument, whatever else they have forgotten."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            # Who buries an orphan, and when, is up to the machine.
            if mark in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def assert_nothing_left(record: PlatformRecord, state_dir: Path) -> None:
    assert not record.alive
    assert not containers(record)
    assert not any(Path(cgroup).exists() for cgroup in record.cgroups)
    assert not Path(record.folder).exists()
    assert not any((state_dir / "platforms").iterdir())
    with pytest.raises(httpx.ConnectError):
        local_http.get(record.apihost)


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
