"""The agent from a warning on a real Redis to a resize, and back to the action."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import httpx
import psutil
import pytest
import redis

from disdel.errors import ConnectionRefused, PlatformRejected
from disdel.memory_agent import memory_warning
from disdel.memory_agent.agent import Agent
from disdel.memory_agent.check import Checker
from disdel.memory_agent.decide import DEFERRED_S, UNSETTLED_S, Pod, Policy, decide
from disdel.memory_agent.memory_warning import CHANNEL, MemoryWarning, publish
from disdel.protocol.memory_grant import issue
from openwhisk_local.proxies import proxy_files
from tests.support.kubernetes_api import PODS, Cluster, Fault, kubeconfig, serving
from tests.support.waiting import DEADLINE_S

MIB = 1 << 20
SECRET = "a secret of enough bytes"
POLICY = Policy(
    step_bytes=256 * MIB,
    ceiling_bytes=1024 * MIB,
    pool_bytes=4096 * MIB,
    activation_bytes=1024 * MIB,
)


def warning(host="pod-1", limit_mb=256, grant=None, **fields):
    """A message as the proxy of `host` would send it."""
    told = MemoryWarning(
        host=host,
        action="/guest/disdel/train",
        activation_id="a" * 32,
        used_bytes=(limit_mb - 6) * MIB,
        limit_bytes=limit_mb * MIB,
        critical_bytes=24 * MIB,
        time_s=int(time.time()),
    )
    return replace(told, **fields).signed(grant or issue(SECRET.encode()))


class FakePods:
    """Pods in memory whose node gives what it is asked for, or what the test makes it give.

    Attributes:
        broken: raised instead of resizing.
        node: what becomes of the specification of a pod.
    """

    def __init__(self, *pods, broken=None, node=None):
        self.pods = {pod.name: pod for pod in pods}
        self.broken = broken
        self.node = node or (lambda pod: replace(pod, actual_bytes=pod.limit_bytes))
        self.asked = []
        self.lists = 0
        self.gone = None

    def list(self):
        self.lists += 1
        if self.gone:
            raise self.gone
        return list(self.pods.values())

    def resize(self, pod, limit_bytes):
        if self.broken:
            raise self.broken
        self.asked.append((pod.name, limit_bytes // MIB))
        current = self.pods[pod.name]
        changed = replace(current, limit_bytes=limit_bytes, pending="", message="")
        back = limit_bytes == current.actual_bytes
        self.pods[pod.name] = changed if back else self.node(changed)


class AtOnce:
    """Threads that have done their work when they get it."""

    def submit(self, work, *arguments):
        work(*arguments)


class Steps:
    """An agent whose clock and whose steps are the test's."""

    def __init__(self, pods, policy=POLICY):
        self.now_s = 1000.0
        self.told = []
        self.pods = pods
        self.agent = Agent(
            pods, policy, Checker(SECRET.encode()), self.told.append, clock=lambda: self.now_s
        )
        self.agent._threads = AtOnce()

    def hears(self, *heard):
        for message in heard:
            self.agent.hear(message)
        self.agent.step(0.0)

    def passes(self, seconds):
        """So many seconds, with a step in each."""
        for _ in range(seconds):
            self.now_s += 1
            self.agent.step(0.0)


def pod(limit_mb=256, name="pod-1"):
    return Pod(name, "user-action", limit_mb * MIB, limit_mb * MIB)


def test_grown():
    steps = Steps(FakePods(pod()))
    steps.hears(warning())
    steps.passes(2)
    assert steps.told == ["pod-1 (/guest/disdel/train) grows from 256 MiB to 512 MiB"]
    assert steps.pods.asked == [("pod-1", 512)]


def test_refused():
    steps = Steps(FakePods(pod()), replace(POLICY, pool_bytes=256 * MIB))
    steps.hears(warning())
    assert steps.told == [
        "pod-1 (/guest/disdel/train) stays at 256 MiB: the pool, 256 MiB, leaves 0 B"
    ]


def test_a_failure_of_the_cluster_is_told_and_survived():
    broken = PlatformRejected("resizing pod-1: Kubernetes answers 403: no", status=403)
    steps = Steps(FakePods(pod(), broken=broken))
    steps.hears(warning())
    steps.passes(1)
    assert steps.told == [f"pod-1 (/guest/disdel/train) stays at 256 MiB: {broken}"]
    steps.pods.broken = None
    steps.hears(warning())
    steps.passes(2)
    assert steps.told[1].endswith("grows from 256 MiB to 512 MiB")


def test_a_list_that_fails_is_told_and_survived():
    steps = Steps(FakePods(pod()))
    steps.pods.gone = ConnectionRefused("listing the pods of openwhisk: no Kubernetes answers")
    steps.hears(warning())
    assert steps.told == [f"pod-1 (/guest/disdel/train) stays at 256 MiB: {steps.pods.gone}"]
    steps.pods.gone = None
    steps.hears(warning())
    steps.passes(2)
    assert steps.told[-1].endswith("grows from 256 MiB to 512 MiB")


def pending(word):
    return lambda pod: replace(pod, pending=word, message="no room\\nhere")


@pytest.mark.parametrize(
    ("word", "waits_s", "why"),
    [
        ("Infeasible", 0, "its node can never give 512 MiB (Infeasible: no room"),
        ("Deferred", DEFERRED_S, "its node has no room for 512 MiB now (Deferred: no room"),
        ("InProgress", UNSETTLED_S, "its node has not given 512 MiB within 30 s (InProgress"),
    ],
)
def test_what_the_node_does_not_give_is_taken_back(word, waits_s, why):
    steps = Steps(FakePods(pod(), pod(1024, "pod-2"), node=pending(word)))
    grant = issue(SECRET.encode())
    steps.hears(warning(grant=grant))
    steps.passes(int(waits_s))
    assert steps.told == []
    steps.passes(3)
    [said] = steps.told
    assert said.startswith(f"pod-1 (/guest/disdel/train) stays at 256 MiB: {why}")
    assert steps.pods.asked == [("pod-1", 512), ("pod-1", 256)]
    # Neither the pool nor the activation has had it.
    steps.pods.node = lambda pod: replace(pod, actual_bytes=pod.limit_bytes)
    full = replace(POLICY, pool_bytes=1536 * MIB, activation_bytes=256 * MIB)
    steps.agent._policy = full
    steps.hears(warning(grant=grant, used_bytes=255 * MIB))
    steps.passes(2)
    assert steps.told[-1].endswith("grows from 256 MiB to 512 MiB")


def test_a_resize_that_is_not_taken_back_is_told():
    steps = Steps(FakePods(pod(), node=pending("Infeasible")))
    steps.hears(warning())
    steps.pods.broken = PlatformRejected("memory limits cannot be decreased", status=422)
    steps.passes(2)
    assert steps.told[-1] == (
        "pod-1: what it was not given stays asked for: memory limits cannot be decreased"
    )


def test_a_pod_that_has_gone_meanwhile():
    steps = Steps(FakePods(pod(), node=pending("Deferred")))
    steps.hears(warning())
    steps.passes(1)
    steps.pods.pods.clear()
    steps.passes(1)
    assert steps.told == ["pod-1 (/guest/disdel/train): it is gone"]


def test_the_next_warning_may_come_before_the_growth_was_seen():
    steps = Steps(FakePods(pod()))
    grant = issue(SECRET.encode())
    steps.hears(warning(grant=grant))
    steps.hears(warning(limit_mb=512, grant=grant))
    steps.passes(2)
    assert steps.told == [
        "pod-1 (/guest/disdel/train) grows from 256 MiB to 512 MiB",
        "pod-1 (/guest/disdel/train) grows from 512 MiB to 768 MiB",
    ]


def test_what_is_asked_for_at_once_counts_at_once():
    pods = FakePods(*(pod(name=f"pod-{i}") for i in range(4)))
    steps = Steps(pods, replace(POLICY, pool_bytes=1024 * MIB + 600 * MIB))
    steps.hears(*(warning(f"pod-{i}") for i in range(4)))
    steps.passes(2)
    assert sorted(mb for _, mb in pods.asked) == [344, 512, 512]


def test_one_list_for_a_burst():
    pods = FakePods(*(pod(name=f"pod-{i}") for i in range(50)))
    steps = Steps(pods, replace(POLICY, pool_bytes=1 << 40))
    steps.hears(*(warning(f"pod-{i}") for i in range(50)), *[warning("strange")] * 500)
    assert pods.lists == 1
    steps.hears(warning("stranger"))
    assert pods.lists == 1


def test_a_grant_is_for_one_container_and_for_so_much():
    steps = Steps(FakePods(pod(), pod(name="pod-2")), replace(POLICY, activation_bytes=300 * MIB))
    grant = issue(SECRET.encode())
    steps.hears(warning(grant=grant), warning("pod-2", grant=grant))
    assert steps.told == ["ignored a message: signed by the grant of another container"]
    steps.passes(2)
    steps.hears(warning(limit_mb=512, grant=grant))
    steps.passes(2)
    steps.hears(warning(limit_mb=556, grant=grant))
    assert steps.told[-2:] == [
        "pod-1 (/guest/disdel/train) grows from 512 MiB to 556 MiB",
        "pod-1 (/guest/disdel/train) stays at 556 MiB: the bound of one activation, 300 MiB, "
        "leaves 0 B",
    ]


def test_an_activation_is_heard_so_often():
    steps = Steps(FakePods())
    grant = issue(SECRET.encode())
    steps.hears(*(warning(grant=grant, used_bytes=used) for used in range(1000)))
    assert steps.agent.tally.total == 1000 - 64
    assert sum("there is no such action pod" in line for line in steps.told) == 64


def test_whoever_repeats_a_message_uses_up_nothing():
    steps = Steps(FakePods(pod()))
    grant = issue(SECRET.encode())
    steps.hears(*[warning(grant=grant, time_s=int(time.time()))] * 1000)
    steps.passes(2)
    steps.hears(warning(limit_mb=512, grant=grant))
    steps.passes(2)
    assert steps.told == [
        "ignored a message: heard before",
        "pod-1 (/guest/disdel/train) grows from 256 MiB to 512 MiB",
        "pod-1 (/guest/disdel/train) grows from 512 MiB to 768 MiB",
    ]


def test_what_goes_wrong_with_one_pod_is_no_other_s_affair(monkeypatch):
    pods = FakePods(pod(), pod(name="pod-2"))
    steps = Steps(pods)
    monkeypatch.setattr("disdel.memory_agent.agent.decide", fails_for("pod-1"))
    steps.hears(warning(), warning("pod-2"))
    steps.passes(2)
    assert steps.told == [
        "an error of the agent's own: ZeroDivisionError: division by zero",
        "pod-2 (/guest/disdel/train) grows from 256 MiB to 512 MiB",
    ]


def fails_for(host):
    return lambda warning, *rest: 1 / 0 if warning.host == host else decide(warning, *rest)


def test_noise_is_counted_and_cannot_flood_the_log():
    steps = Steps(FakePods(pod()))
    noise = [b"hello", b"[" * 2000, b'{"limit_bytes": 1' + b"0" * 400 + b"}", b"x" * 4097]
    steps.hears(*noise * 1000)
    steps.passes(20)
    assert steps.agent.tally.total == 4000
    assert len(steps.told) == 4
    assert steps.told[0] == "ignored a message: not a memory warning"
    assert steps.told[3].startswith("ignored 3997 more messages: 1999 × not a memory warning; ")
    steps.hears(warning())
    steps.passes(2)
    assert steps.told[-1].endswith("grows from 256 MiB to 512 MiB")


def test_an_error_of_its_own_is_counted_and_survived(monkeypatch):
    steps = Steps(FakePods(pod()))
    monkeypatch.setattr(Checker, "read", lambda *_: 1 / 0)
    steps.hears(warning())
    monkeypatch.undo()
    assert steps.told == ["ignored a message: an error of the agent's own, ZeroDivisionError"]
    steps.pods.broken = RuntimeError("never thought of\nthat")
    steps.hears(warning())
    steps.passes(1)
    assert steps.told[-1].endswith("of the agent's own: RuntimeError: never thought of\\nthat")


def test_a_name_in_a_message_makes_no_line_of_the_log():
    steps = Steps(FakePods(pod()))
    steps.hears(warning(action="/guest/a\npod-1 grows\x1b[2J"))
    steps.passes(2)
    assert steps.told == ["pod-1 (/guest/a\\npod-1 grows\\x1b[2J) grows from 256 MiB to 512 MiB"]


@contextmanager
def agent(cluster, redis_url, folder, *options):
    """The command as a process, listening; ends it as Kubernetes would."""
    config = folder / "kubeconfig"
    config.write_text(kubeconfig(cluster))
    code = (
        "import typer; from disdel.cli.declared import with_settings; "
        "from disdel.cli.memory_agent import memory_agent_command as command; "
        "typer.run(with_settings(command))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--ceiling", "1024", "--pool", "4096", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(config),
            "DISDEL_REDIS": redis_url,
            "DISDEL_MEMORY_SECRET": SECRET,
        },
    )
    try:
        assert process.stderr.readline() == f"{len(cluster.limits)} action pods in openwhisk\n"
        assert process.stderr.readline() == f"listening on {CHANNEL}\n"
        yield process
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=DEADLINE_S)
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
        publish(redis_url, warning())
        assert process.stderr.readline() == (
            "pod-1 (/guest/disdel/train) grows from 256 MiB to 512 MiB\n"
        )
        publish(redis_url, warning())
        assert "stays at 256 MiB: its limit is 512 MiB already" in process.stderr.readline()
        [patch] = cluster.patches
    assert patch["path"] == f"{PODS}/pod-1/resize"
    assert patch["authorization"] == "Bearer t0ken"


def test_a_hostile_publisher_neither_ends_nor_delays_it(redis_url, tmp_path):
    """In small what experiments/memory_agent does for ten minutes."""
    pytest.importorskip("kubernetes")
    stopping = threading.Event()
    hostile = [
        b"[" * 2000,
        b'{"version": 1, "host": "pod-1", "limit_bytes": 1' + b"0" * 400 + b"}",
        b"[[]," * 1_000_000,
        warning(grant=issue(b"not the agent's own secret")),
        os.urandom(100),
    ]

    def flood():
        with redis.Redis.from_url(redis_url) as client:
            while not stopping.is_set():
                pipe = client.pipeline(transaction=False)
                for message in [*hostile, *hostile[3:] * 100]:
                    pipe.publish(CHANNEL, message)
                pipe.execute()

    names = [f"pod-{i}" for i in range(10)]
    cluster = Cluster(dict.fromkeys(names, "256Mi"))
    # One call that hangs is the slow pod's own affair.
    others = threading.Event()
    cluster.faults = [Fault(until=others, path="pod-0/resize", times=1)]
    with serving(cluster), agent(cluster, redis_url, tmp_path, "--pool", "8192") as process:
        flooding = threading.Thread(target=flood)
        begun_s, grown = time.monotonic(), {}
        flooding.start()
        try:
            for name in names:
                publish(redis_url, warning(name))
            while len(grown) < len(names):
                line = process.stderr.readline()
                assert line, "it has ended"
                if " grows from 256 MiB to 512 MiB" in line:
                    grown[line.split()[0]] = time.monotonic() - begun_s
                if len(grown) == len(names) - 1:
                    others.set()
            used_bytes = psutil.Process(process.pid).memory_info().rss
        finally:
            others.set()
            stopping.set()
            flooding.join()
    assert list(grown)[-1] == "pod-0"
    assert used_bytes < 128 * MIB
    # A list a second at most, whatever is published.
    assert cluster.lists() <= 2 + max(grown.values()) + 1


ALLOCATE = """
import json, os, time

def main(args):
    blocks = []
    while len(blocks) < args["blocks"]:
        state = json.load(open(os.environ["__OW_MEMORY_STATE"]))
        if state["limit_bytes"] > args["limit_bytes"]:
            return {"grown": state, "blocks": len(blocks)}
        # A state from before the last block says nothing of it.
        if not state["critical"] and state["used_bytes"] >= len(blocks) * (4 << 20):
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
    for source in (*proxy_files(), memory_warning.__file__):
        shutil.copy(source, laid)

    def resize(quantity):
        # In one piece, as the platform writes it: half a number would be no limit at all.
        new = limit.with_suffix(".new")
        new.write_text(str(int(quantity.removesuffix("Mi")) * MIB))
        new.replace(limit)

    cluster = Cluster({socket.gethostname(): "128Mi"}, on_resize=resize)
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
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            timeout=DEADLINE_S,
            trust_env=False,
        ) as client,
    ):
        try:
            client.post("/init", json={"value": {"code": ALLOCATE}}).raise_for_status()
            value = {"store": redis_url, "limit_bytes": 128 * MIB, "blocks": 128 // 4}
            value["memory_grant"] = issue(SECRET.encode())
            reply = client.post("/run", json={"value": value, "activation_id": "c" * 32})
        finally:
            process.kill()
        log = process.stderr.read()
    assert reply.json()["grown"]["limit_bytes"] == 384 * MIB
    assert not reply.json()["grown"]["critical"]
    assert reply.headers["x-disdel-memory-critical"] == "1"
    assert "memory is critical" in log
    assert cluster.limits == {socket.gethostname(): "384Mi"}
