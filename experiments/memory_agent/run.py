"""One hostile publisher against the memory agent: is it ended, are others delayed?

    PYTHONPATH=. python experiments/memory_agent/run.py [--minutes 10] [--out results.json]

A real Redis and the agent as a process of its own; the API server is that of the unit tests, over
HTTP. Honest pods warn at fixed intervals, first in peace, then under the flood; for each warning
the time is taken until the API server has its resize.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import redis

from disdel.memory_agent.memory_warning import CHANNEL, PAUSES_S, MemoryWarning, publish
from disdel.protocol.memory_grant import issue
from disdel.store.private_redis import PrivateRedis
from tests.support.kubernetes_api import Cluster, kubeconfig, serving

MIB = 1 << 20
SECRET = b"a secret of enough bytes"
INTERVAL_S = 0.5
PEACE_S = 30.0


def warning(host: str, secret: bytes = SECRET) -> bytes:
    told = MemoryWarning(
        host=host,
        action="/guest/disdel/train",
        activation_id="a" * 32,
        used_bytes=250 * MIB,
        limit_bytes=256 * MIB,
        critical_bytes=24 * MIB,
        time_s=int(time.time()),
    )
    return told.signed(issue(secret))


def hostile() -> list[bytes]:
    """A round of the flood: what is cheap to send and dear to read, and what looks right."""
    forged = [warning(f"pod-{i}", b"not the agent's own secret") for i in range(100)]
    return [
        b"[" * 2000,
        b'{"version": 1, "host": "pod-1", "limit_bytes": 1' + b"0" * 400 + b"}",
        b"[[]," * (1 << 20),
        *forged,
        *[os.urandom(100) for _ in range(100)],
    ]


class Flood(threading.Thread):
    """Publishes as fast as one connection can."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.stopping = threading.Event()
        self.sent = self.sent_bytes = 0

    def run(self) -> None:
        # It is elsewhere: the machine's other work, the agent among it, comes first.
        os.nice(10)
        messages = hostile()
        with redis.Redis.from_url(self._url) as client:
            while not self.stopping.is_set():
                pipe = client.pipeline(transaction=False)
                for message in messages:
                    pipe.publish(CHANNEL, message)
                pipe.execute()
                self.sent += len(messages)
                self.sent_bytes += sum(map(len, messages))


def honest(url: str, asked: dict[str, float], names: list[str]) -> list[float]:
    """Have each pod warn, and give the times until its resize arrived, infinity for none."""
    begun: dict[str, float] = {}

    def warn(name: str) -> None:
        """As the proxy does: again after a while, if nothing has come of it."""
        for pause_s in (*PAUSES_S, 0.0):
            publish(url, warning(name), timeout_s=10.0)
            time.sleep(pause_s)
            if name in asked:
                return

    warning_threads = []
    for name in names:
        begun[name] = time.monotonic()
        warning_threads.append(threading.Thread(target=warn, args=[name]))
        warning_threads[-1].start()
        time.sleep(INTERVAL_S)
    for thread in warning_threads:
        thread.join()
    time.sleep(5.0)
    return [asked.get(name, float("inf")) - begun[name] for name in names]


def spread(times_s: list[float]) -> dict[str, object]:
    arrived = sorted(one for one in times_s if one != float("inf"))
    return {
        "warnings": len(times_s),
        "lost": len(times_s) - len(arrived),
        "median_ms": round(arrived[len(arrived) // 2] * 1000, 1),
        "p99_ms": round(arrived[int(len(arrived) * 0.99)] * 1000, 1),
        "most_ms": round(arrived[-1] * 1000, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    peaceful = [f"peace-{i}" for i in range(int(PEACE_S / INTERVAL_S))]
    besieged = [f"flood-{i}" for i in range(int(options.minutes * 60 / INTERVAL_S))]
    asked: dict[str, float] = {}

    class Timed(Cluster):
        def resize(self, name: str, body: dict[str, object]) -> object:
            asked.setdefault(name, time.monotonic())
            return super().resize(name, body)

    cluster = Timed(dict.fromkeys([*peaceful, *besieged], "256Mi"))
    with (
        ExitStack() as stack,
        tempfile.TemporaryDirectory() as folder,
        serving(cluster),
        closing(PrivateRedis()) as server,
    ):
        server.ready()
        config = Path(folder) / "kubeconfig"
        config.write_text(kubeconfig(cluster))
        command = [sys.executable, "-m", "disdel", "memory-agent", "--ceiling", "1024"]
        log = stack.enter_context((Path(folder) / "log").open("w+"))
        agent = subprocess.Popen(
            [*command, "--pool", str(1 << 20)],
            stderr=log,
            env={
                "PATH": os.environ["PATH"],
                "KUBECONFIG": str(config),
                "DISDEL_REDIS": server.url,
                "DISDEL_MEMORY_SECRET": SECRET.decode(),
            },
        )
        with redis.Redis.from_url(server.url) as client:
            while not client.pubsub_numsub(CHANNEL)[0][1]:
                time.sleep(0.1)
        in_peace = honest(server.url, asked, peaceful)
        lists, begun_s = cluster.lists(), time.monotonic()
        flood = Flood(server.url)
        flood.start()
        under_flood = honest(server.url, asked, besieged)
        flood.stopping.set()
        flood.join()
        took_s = time.monotonic() - begun_s
        memory = psutil.Process(agent.pid).memory_info()
        ended = agent.poll()
        agent.send_signal(signal.SIGTERM)
        agent.wait(30)
        log.seek(0)
        lines = log.read().splitlines()
    result = {
        "machine": f"{platform.machine()}, {psutil.cpu_count()} CPUs, Python "
        f"{platform.python_version()}",
        "flood_s": round(took_s, 1),
        "flood_messages": flood.sent,
        "flood_mib": flood.sent_bytes // MIB,
        "agent_ended": ended is not None,
        "agent_resident_mib": memory.rss // MIB,
        "agent_log_lines_of_the_flood": sum("ignored" in line for line in lines),
        "agent_lost_redis": sum("lost Redis" in line for line in lines),
        "list_requests": cluster.lists() - lists,
        "load_average": os.getloadavg()[2],
        "in_peace": spread(in_peace),
        "under_flood": spread(under_flood),
    }
    text = json.dumps(result, indent=2)
    if options.out:
        options.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
