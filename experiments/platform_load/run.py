"""How much the embedded platform adds: requests a second, latencies, and container starts.

It starts a platform of four containers of 128 MB and measures, for an action that returns its
argument: 20 cold starts, 500 warm invocations one after another, and 2,000 from 200 clients at
once. Latencies are what the client sees, in milliseconds.

    python experiments/platform_load/run.py > experiments/platform_load/results.json
"""

from __future__ import annotations

import asyncio
import json
import os
import platform as machine
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.options import EmbeddedOptions

CONTAINERS = 4
MEMORY_MB = 128
COLD, WARM, CLIENTS, EACH = 20, 500, 200, 10
CODE = "def main(args): return args"

Record = dict[str, Any]


class User:
    """One client, with a connection of its own."""

    def __init__(self, apihost: str, auth: str) -> None:
        name, _, secret = auth.partition(":")
        self._client = httpx.AsyncClient(
            base_url=f"{apihost}/api/v1/namespaces/_",
            auth=(name, secret),
            timeout=120,
            trust_env=False,
            verify=False,  # there is no TLS on loopback, and a context for it is slow to make
        )

    async def create(self, name: str) -> None:
        body = {
            "exec": {"kind": "python:3.11", "code": CODE},
            "limits": {"memory": MEMORY_MB},
        }
        reply = await self._client.put(f"/actions/{name}", json=body)
        reply.raise_for_status()

    async def invoke(self, name: str) -> tuple[float, Record]:
        """Latency in ms, and the activation record."""
        begun = time.perf_counter()
        reply = await self._client.post(f"/actions/{name}?blocking=true", json={"x": 1})
        reply.raise_for_status()
        return (time.perf_counter() - begun) * 1000, reply.json()

    async def close(self) -> None:
        await self._client.aclose()


async def cold_starts(user: User) -> list[Record]:
    rows = []
    for number in range(COLD):
        await user.create(f"cold{number}")
        latency_ms, record = await user.invoke(f"cold{number}")
        facts = {pair["key"]: pair["value"] for pair in record["annotations"]}
        rows.append(
            {
                "latency_ms": round(latency_ms, 2),
                "wait_ms": facts["waitTime"],
                "init_ms": facts["initTime"],
            }
        )
    return rows


async def one_after_another(user: User) -> list[float]:
    await user.invoke("echo")
    return [(await user.invoke("echo"))[0] for _ in range(WARM)]


async def all_at_once(users: list[User]) -> tuple[float, list[float]]:
    """Seconds in all, and the latencies."""

    async def insist(user: User) -> list[float]:
        return [(await user.invoke("echo"))[0] for _ in range(EACH)]

    begun = time.perf_counter()
    each = await asyncio.gather(*(insist(user) for user in users))
    return time.perf_counter() - begun, [latency for one in each for latency in one]


def summary(latencies_ms: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(latencies_ms, n=100, method="inclusive")
    return {
        "count": len(latencies_ms),
        "p50_ms": round(cuts[49], 2),
        "p99_ms": round(cuts[98], 2),
        "max_ms": round(max(latencies_ms), 2),
    }


async def measure(apihost: str, auth: str) -> dict[str, Any]:
    users = [User(apihost, auth) for _ in range(CLIENTS)]
    first = users[0]
    cold = await cold_starts(first)
    await first.create("echo")
    warm = await one_after_another(first)
    took_s, loaded = await all_at_once(users)
    for user in users:
        await user.close()
    return {
        "cold": {**summary([row["latency_ms"] for row in cold]), "rows": cold},
        "warm": {**summary(warm), "requests_per_s": round(len(warm) / sum(warm) * 1000, 1)},
        "loaded": {**summary(loaded), "requests_per_s": round(len(loaded) / took_s, 1)},
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        options = EmbeddedOptions(state_dir=Path(folder), user_memory_mb=CONTAINERS * MEMORY_MB)
        with start_embedded(options) as started:
            measured = asyncio.run(measure(started.access.apihost, started.access.auth))
            enforcement = started.enforcement
    where = {
        "cpus": len(os.sched_getaffinity(0)),
        "machine": machine.machine(),
        "kernel": machine.release(),
        "python": machine.python_version(),
        "enforcement": enforcement,
        "containers": CONTAINERS,
        "load_before": os.getloadavg()[0],
    }
    json.dump({"where": where, **measured}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
