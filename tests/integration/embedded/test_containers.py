"""What holds a container in: who reaches it, and what an action leaves running."""

from __future__ import annotations

import shutil
import time

import psutil
import pytest

from tests.integration.embedded.support import User, containers, failed

NODE = {"kind": "nodejs:default", "code": "function main(args) { return args }"}


@pytest.mark.parametrize("language", ["python", "nodejs"])
def test_nobody_else_reaches_a_container(guest: User, language: str) -> None:
    if language == "nodejs" and shutil.which("node") is None:
        pytest.skip("node is not installed")
    guest.put("echo", **({"exec": NODE} if language == "nodejs" else {}))
    assert guest.invoke("echo", x=1).status_code == 200
    connections = [c for p in containers(guest.record) for c in p.net_connections(kind="all")]
    assert connections, "each has at least the channel to the platform"
    assert all(c.laddr in ("", ()) and c.status != psutil.CONN_LISTEN for c in connections)


def test_a_child_that_keeps_the_channel_is_not_waited_for(guest: User) -> None:
    # The fork holds every descriptor of the proxy, which then ends without an answer.
    code = (
        "import os, signal, time\n"
        "def main(args):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(60)\n"
        "    os._exit(1)\n"
    )
    guest.put("forks", code)
    begun = time.monotonic()
    reply = guest.invoke("forks")
    message = "The action did not produce a valid response and exited unexpectedly."
    failed(reply, "action developer error", message)
    assert time.monotonic() - begun < 50


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
    assert not any("while :" in " ".join(p.cmdline()) for p in containers(guest.record))
