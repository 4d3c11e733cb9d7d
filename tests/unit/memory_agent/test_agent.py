"""The agent from a warning on a real Redis to a resize, and back to the action."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest
import redis

from disdel import container_memory
from disdel.assets import asset_dir
from disdel.errors import ConnectionRefused, PlatformRejected
from disdel.memory_agent import memory_warning
from disdel.memory_agent.agent import answer, messages
from disdel.memory_agent.decide import Pod, Policy
from disdel.memory_agent.memory_warning import CHANNEL, MemoryWarning, publish
from tests.unit.memory_agent.kubernetes_api import PODS, Cluster, kubeconfig, serving
from tests.waiting import wait_until

MIB = 1 << 20
POLICY = Policy(step_bytes=256 * MIB, ceiling_bytes=1024 * MIB, pool_bytes=4096 * MIB)
WARNING = MemoryWarning(
    host="pod-1",
    action="/guest/disdel/train",
    activation_id="a" * 32,
    used_bytes=250 * MIB,
    limit_bytes=256 * MIB,
    critical_bytes=24 * MIB,
)


class FakePods:
    """Pods in memory; `broken` is raised instead of resizing."""

    def __init__(self, *pods, broken=None):
        self.pods, self.broken = {pod.name: pod for pod in pods}, broken

    def list(self):
        return list(self.pods.values())

    def resize(self, pod, limit_bytes):
        if self.broken:
            raise self.broken
        self.pods[pod.name] = replace(pod, limit_bytes=limit_bytes)


def test_grown():
    pods = FakePods(Pod("pod-1", "user-action", 256 * MIB))
    said = answer(WARNING.to_json().encode(), pods, POLICY)
    assert said == "pod-1 (/guest/disdel/train) grows from 256 MiB to 512 MiB"
    assert pods.pods["pod-1"].limit_bytes == 512 * MIB


def test_refused():
    pods = FakePods(Pod("pod-1", "user-action", 256 * MIB))
    policy = replace(POLICY, pool_bytes=256 * MIB)
    said = answer(WARNING.to_json().encode(), pods, policy)
    assert said == ("pod-1 (/guest/disdel/train) stays at 256 MiB: the pool of 256 MiB leaves 0 B")


def test_a_failure_of_the_cluster_is_told_and_survived():
    broken = PlatformRejected("resizing pod-1: Kubernetes answers 422", status=422)
    pods = FakePods(Pod("pod-1", "user-action", 256 * MIB), broken=broken)
    said = answer(WARNING.to_json().encode(), pods, POLICY)
    assert said == "pod-1 (/guest/disdel/train) stays at 256 MiB: " + str(broken)


def test_noise_is_told_and_survived():
    assert answer(b"hello", FakePods(), POLICY).startswith("ignored a message: not JSON")


def test_no_redis_to_begin_with():
    with pytest.raises(ConnectionRefused, match="no Redis to listen on"):
        next(messages("redis://127.0.0.1:1", print))
    with pytest.raises(ConnectionRefused, match="not a Redis URL"):
        next(messages("localhost", print))


def test_a_lost_connection_is_made_again(redis_url, monkeypatch):
    monkeypatch.setattr("disdel.memory_agent.agent._RECONNECT_S", 0.01)
    told, heard = [], []

    def listen():
        for message in messages(redis_url, told.append):
            heard.append(message)
            if message == b"end":
                return

    listener = threading.Thread(target=listen)
    listener.start()
    with redis.Redis.from_url(redis_url) as admin:
        wait_until(lambda: admin.publish(CHANNEL, "one"))
        wait_until(lambda: heard == [b"one"])
        admin.client_kill_filter(_type="pubsub")
        wait_until(lambda: admin.publish(CHANNEL, "end"))
    listener.join()
    assert heard == [b"one", b"end"]
    assert told[0] == f"listening on {CHANNEL}"
    assert told[1].startswith("lost Redis, trying again")
    assert told[-1] == told[0]


@contextmanager
def agent(cluster, redis_url, folder, *options):
    """The command as a process, listening; ends it as Kubernetes would."""
    config = folder / "kubeconfig"
    config.write_text(kubeconfig(cluster))
    code = (
        "import typer; from disdel.cli.memory_agent import memory_agent_command as command; "
        "typer.run(command)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--ceiling", "1024", "--pool", "4096", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "KUBECONFIG": str(config), "DISDEL_REDIS": redis_url},
    )
    try:
        assert process.stderr.readline() == f"listening on {CHANNEL}\n"
        yield process
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert (process.returncode, "Traceback" in log) == (0, False), log
    finally:
        process.kill()
        process.communicate()


def test_the_command_resizes_a_pod(redis_url, tmp_path):
    pytest.importorskip("kubernetes")
    with (
        serving(Cluster({"pod-1": "256Mi", "pod-2": "3Gi"})) as cluster,
        agent(cluster, redis_url, tmp_path) as process,
    ):
        publish(redis_url, WARNING)
        publish(redis_url, WARNING)
        assert process.stderr.readline() == (
            "pod-1 (/guest/disdel/train) grows from 256 MiB to 512 MiB\n"
        )
        assert "stays at 256 MiB: its limit is 512 MiB already" in process.stderr.readline()
        [patch] = cluster.patches
    assert patch["path"] == f"{PODS}/pod-1/resize"
    assert patch["authorization"] == "Bearer t0ken"


ALLOCATE = """
import json, os, time

def main(args):
    blocks = []
    while len(blocks) < args["blocks"]:
        state = json.load(open(os.environ["__OW_MEMORY_STATE"]))
        if state["limit_bytes"] > args["limit_bytes"]:
            return {"grown": state, "blocks": len(blocks)}
        if not state["critical"]:
            blocks.append(bytearray(4 << 20))
        time.sleep(0.02)
    return {"grown": None}
"""


def test_an_action_that_runs_out_of_memory_sees_its_limit_grow(redis_url, tmp_path):
    """The circle: proxy, Redis, agent, Kubernetes; here a file plays the kubelet."""
    pytest.importorskip("kubernetes")
    limit = tmp_path / "limit"
    limit.write_text(str(128 * MIB))
    laid = tmp_path / "proxy"
    laid.mkdir()
    proxy = asset_dir("runtime-image") / "proxy.py"
    for source in (proxy, container_memory.__file__, memory_warning.__file__):
        shutil.copy(source, laid)
    cluster = Cluster(
        {socket.gethostname(): "128Mi"},
        on_resize=lambda quantity: limit.write_text(str(int(quantity.removesuffix("Mi")) * MIB)),
    )
    with (
        serving(cluster),
        agent(cluster, redis_url, tmp_path),
        socket.create_server(("127.0.0.1", 0), backlog=8) as listener,
        subprocess.Popen(
            [sys.executable, str(laid / "proxy.py"), "--fd", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={
                "TMPDIR": str(tmp_path),
                "DISDEL_MEMORY_LIMIT_FILE": str(limit),
                "DISDEL_MEMORY_CRITICAL_MB": "16",
            },
        ) as process,
        httpx.Client(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30, trust_env=False
        ) as client,
    ):
        try:
            client.post("/init", json={"value": {"code": ALLOCATE}}).raise_for_status()
            value = {"redis": redis_url, "limit_bytes": 128 * MIB, "blocks": 128 // 4}
            reply = client.post("/run", json={"value": value, "activation_id": "c" * 32})
        finally:
            process.kill()
        log = process.stderr.read()
    assert reply.json()["grown"]["limit_bytes"] == 384 * MIB
    assert not reply.json()["grown"]["critical"]
    assert reply.headers["x-disdel-memory-critical"] == "1"
    assert "memory is critical" in log
    assert cluster.limits == {socket.gethostname(): "384Mi"}
