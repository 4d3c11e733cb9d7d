"""Failures of actions, the limits that kill them, and which failures cost the container."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.embedded import (
    EAT,
    OURS,
    User,
    annotations,
    failed,
    platform,
)
from tests.support.waiting import wait_until


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
            "The action did not produce a valid JSON or JSON Array response: null\n",
        ),
        ("def main(args): return {'x': {1}}", "command exited"),
        ("def main(args): import sys; sys.exit(1)", "command exited"),
        ("def main(args): import os; os._exit(1)", "command exited"),
        ("import os; os._exit(1)", "Cannot start action. Check logs for details."),
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


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def main(args): return None",
            "The action did not produce a valid JSON or JSON Array response: null",
        ),
        (
            "def main(args): import os; os._exit(1)",
            "The action did not produce a valid response and exited unexpectedly.",
        ),
        ("import os; os._exit(1)", "The action did not initialize and exited unexpectedly."),
    ],
)
def test_our_images_say_what_the_platform_sees(guest: User, code: str, message: str) -> None:
    guest.put("ours", code, image=OURS)
    failed(guest.invoke("ours"), "action developer error", message)


def test_time_limits_kill(guest: User) -> None:
    code = "import time\ndef main(args): time.sleep(args.get('s', 0)); return {}"
    limits = {"memory": 128, "timeout": 500}
    guest.put("sleep", code, limits=limits)

    def done() -> httpx.Response | None:
        # On a machine that does much else, its start may take longer.
        reply = guest.invoke("sleep")
        return reply if reply.status_code == 200 else None

    wait_until(done)
    reply = guest.invoke("sleep", s=60)
    failed(
        reply,
        "action developer error",
        "The action exceeded its time limits of 500 milliseconds.",
    )
    assert annotations(reply.json())["timeout"] is True
    assert "initTime" in annotations(wait_until(done).json())
    guest.put("slow", "import time; time.sleep(60)", limits=limits)
    failed(
        guest.invoke("slow"),
        "action developer error",
        "The action exceeded its time limits of 500 milliseconds during initialization.",
    )


EXHAUSTED = "The action exhausted its memory and was aborted."


@pytest.mark.parametrize(
    ("image", "in_run", "in_init"),
    [
        (OURS, EXHAUSTED, EXHAUSTED),
        # The stock image's proxy survives its action, and never names memory.
        (None, "command exited", "Cannot start action. Check logs for details."),
    ],
)
def test_memory_limits_kill(guest: User, image: str | None, in_run: str, in_init: str) -> None:
    if not guest.record.enforcement.startswith("cgroup"):
        pytest.skip("no memory cgroup can be made here: the next test covers sampling")
    guest.put("eat", EAT, image=image)
    assert guest.invoke("eat", mb=32).json()["response"]["result"] == {"eaten": 32}
    failed(guest.invoke("eat"), "action developer error", in_run)
    assert "initTime" in annotations(guest.invoke("eat", mb=1).json())
    guest.put("greedy", "eaten = [bytearray(1 << 20) for _ in range(2000)]", image=image)
    failed(guest.invoke("greedy"), "action developer error", in_init)


# Starts threads until it may not, or for ever.
THREADS = (
    "import threading\n"
    "def main(args):\n"
    "    threading.stack_size(1 << 16)\n"
    "    end, threads = threading.Event(), []\n"
    "    try:\n"
    "        while len(threads) < 3000:\n"
    "            threads.append(threading.Thread(target=end.wait, daemon=True))\n"
    "            threads[-1].start()\n"
    "        end.wait()\n"
    "    except RuntimeError:\n"
    "        end.set()\n"
    "    return {'threads': len(threads)}\n"
)


def test_a_container_has_so_many_processes_and_threads(guest: User, tmp_path: Path) -> None:
    if guest.client.get(guest.record.apihost).json()["capacity"]["process_limit"] == "kernel":
        guest.put("threads", THREADS, memory=512)
        assert 900 < guest.invoke("threads").json()["response"]["result"]["threads"] < 1024
        assert guest.invoke("threads").status_code == 200
    with platform(tmp_path / "state", enforcement="sampling", user_memory_mb=512) as user:
        assert (
            user.client.get(user.record.apihost).json()["capacity"]["process_limit"] == "sampling"
        )
        user.put("threads", THREADS, memory=512)
        failed(user.invoke("threads"), "action developer error", "command exited")


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
        user.put("eat", code, image=OURS)
        within = user.invoke("eat", mb=10)
        assert within.json()["response"]["result"] == {"limit": str(128 << 20)}
        message = "The action exhausted its memory and was aborted."
        failed(user.invoke("eat", mb=200), "action developer error", message)
