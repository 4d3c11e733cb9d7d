"""What holds a container in: who reaches it, and what an action leaves running."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from openwhisk_local.containers.container import Container, ContainerSpec
from openwhisk_local.containers.isolation import SamplingEnforcement
from openwhisk_local.containers.logs import Marks
from openwhisk_local.containers.namespaces import ProcessGroups
from openwhisk_local.platform import lay_proxies
from tests.support.embedded import (
    OURS,
    User,
    commands,
    containers,
    failed,
    platform,
    running,
)
from tests.support.processes import seen
from tests.support.waiting import wait_until_none

NODE = {"kind": "nodejs:default", "code": "function main(args) { return args }"}


@pytest.mark.parametrize("language", ["python", "nodejs"])
def test_nobody_else_reaches_a_container(guest: User, language: str) -> None:
    if language == "nodejs" and shutil.which("node") is None:
        pytest.skip("node is not installed")
    guest.put("echo", **({"exec": NODE} if language == "nodejs" else {}))
    assert guest.invoke("echo", x=1).status_code == 200
    found = seen(containers(guest.record), lambda process: process.net_connections(kind="all"))
    connections = [connection for each in found for connection in each]
    assert connections, "each has at least the channel to the platform"
    assert all(c.laddr in ("", ()) and c.status != psutil.CONN_LISTEN for c in connections)


def test_a_child_that_keeps_the_channel_is_not_waited_for(guest: User) -> None:
    # The fork holds every descriptor of the proxy, which then ends without an answer.
    code = (
        "import os, signal, time\n"
        "def main(args):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(600)\n"
        "    os._exit(1)\n"
    )
    guest.put("forks", code)
    failed(guest.invoke("forks"), "action developer error", "command exited")


@pytest.mark.parametrize(
    ("ends", "last"),
    [
        ("return {}", "There was an issue while collecting your logs. Data might be missing."),
        ("os._exit(1)", "The action did not initialize or run as expected. Log data might be"),
    ],
)
def test_a_child_that_keeps_writing_is_not_waited_for(guest: User, ends: str, last: str) -> None:
    # It holds the streams in place of the action, which cannot mark the end of its log.
    code = (
        "import contextlib, os, stat, subprocess\n"
        "def main(args):\n"
        "    subprocess.Popen(['sh', '-c', 'while :; do echo x >&2; sleep 0.1; done'],\n"
        "        start_new_session=True)\n"
        "    for descriptor in range(1024):\n"
        "        with contextlib.suppress(OSError):\n"
        "            if stat.S_ISFIFO(os.fstat(descriptor).st_mode): os.close(descriptor)\n"
        f"    {ends}\n"
    )
    guest.put("leaves", code)
    lines = guest.activation(guest.invoke("leaves").json()["activationId"])["logs"]
    assert last in lines[-1]
    # The record does not wait for the container's end.
    wait_until_none(lambda: [line for line in commands(guest.record) if "while :" in line])


# Takes memory in a process that nothing leads back to its container.
FORGETS = (
    "import os, subprocess, sys, time\n"
    "EAT = 'import time; x = bytearray(%d << 20); time.sleep(600)'\n"
    "def main(args):\n"
    "    eat = [sys.executable, '-c', EAT % args['mb'], args['mark']]\n"
    "    command = ['env', '-i', 'setsid', 'sh', '-c', '\"$@\" & sleep 1', 'sh', *eat]\n"
    "    subprocess.Popen(['sh', '-c', '\"$@\" & exit', 'sh', *command])\n"
    "    time.sleep(args['s'])\n"
    "    return {}\n"
)


def test_memory_of_a_process_that_forgets_its_container(tmp_path: Path) -> None:
    with platform(tmp_path / "state", enforcement="sampling", user_memory_mb=512) as user:
        user.put("forgets", FORGETS, image=OURS)
        reply = user.invoke("forgets", mb=600, s=50, mark=str(tmp_path))
        message = "The action exhausted its memory and was aborted."
        failed(reply, "action developer error", message)
        # The answer does not wait for the container's end.
        wait_until_none(lambda: running(str(tmp_path)))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a parent for orphans")
def test_where_there_are_neither_namespaces_nor_cgroups(tmp_path: Path) -> None:
    """Processes that forget their container count for it, and end with it."""
    # In a process of its own, since that kills children that are no container's.
    apart = multiprocessing.get_context("spawn").Process(target=_without_any_help, args=[tmp_path])
    apart.start()
    apart.join()
    assert apart.exitcode == 0
    assert not running(str(tmp_path))


def _without_any_help(folder: Path) -> None:
    async def run() -> None:
        enforcement = SamplingEnforcement()
        spec = ContainerSpec(
            id="a-1",
            marks=Marks("secret"),
            memory_mb=128,
            env={},
            proxy=lay_proxies(folder / "proxy")["python"],
            folder=folder / "a-1",
        )
        container = await Container.start(spec, enforcement, ProcessGroups())
        try:
            code = {"value": {"code": FORGETS, "main": "main"}}
            assert (await container.post("/init", json.dumps(code).encode(), 60_000)).status == 200
            small = {"mb": 10, "s": 2, "mark": str(folder)}
            body = json.dumps({"value": small}).encode()
            assert (await container.post("/run", body, 60_000)).status == 200
            assert running(str(folder))
            body = json.dumps({"value": {**small, "mb": 600, "s": 50}}).encode()
            assert (await container.post("/run", body, 60_000)).outcome == "out-of-memory"
        finally:
            await container.destroy()
            enforcement.close()

    asyncio.run(run())


def test_containers_do_not_see_each_other(tmp_path: Path) -> None:
    code = (
        "import os, pathlib\n"
        "def main(args):\n"
        "    home = pathlib.Path(os.environ['HOME'])\n"
        "    shm = pathlib.Path('/dev/shm')\n"
        "    seen = sorted(os.listdir(shm))\n"
        "    (home / 'mine').touch()\n"
        "    (shm / 'disdel-mine').touch()\n"
        "    proxy = next((home.parent / 'proxy').iterdir())\n"
        "    try: proxy.write_text('')\n"
        "    except OSError as error: why = error.strerror\n"
        "    else: why = None\n"
        "    return {\n"
        "        'processes': [p for p in os.listdir('/proc') if p.isdigit()],\n"
        "        'shm': seen,\n"
        "        'around': sorted(each.name for each in home.parent.glob('*/mine')),\n"
        "        'proxy': why,\n"
        "    }\n"
    )
    with platform(tmp_path / "state", user_memory_mb=512) as user:
        if "namespaces" not in user.record.isolation:
            pytest.skip("no namespaces can be made here")
        for name in ("a", "b"):
            user.put(name, code)
            seen = user.invoke(name).json()["response"]["result"]
            assert len(seen["processes"]) < 5
            assert seen["shm"] == []
            assert seen["around"] == ["mine"]
            assert seen["proxy"] == "Read-only file system"
    assert not Path("/dev/shm/disdel-mine").exists()
