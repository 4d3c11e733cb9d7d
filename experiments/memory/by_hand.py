"""The modes without disdel: one hand-written action, its limits found by trying, or known at once.

Both run on an embedded platform that is started for them, over the same REST API as disdel.
"""

import asyncio
import io
import time
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import redis
from configurations import Configuration

import disdel
from disdel.controller.invoking.bundle import build_bundle
from disdel.controller.invoking.outcomes import failure_of
from disdel.data import DatasetArrays, load_arrays
from disdel.platforms.base import ActionSpec
from disdel.platforms.embedded.launching import start_embedded
from disdel.platforms.embedded.limits import embedded_capacity
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.platforms.openwhisk.client import OpenWhisk
from disdel.runtimes.registry import TENSORFLOW
from disdel.store.private_redis import PrivateRedis

FIRST_MEMORY_MB, MORE_MEMORY_MB = 256, 256
FIRST_TIMEOUT_S, MORE_TIMEOUT_S = 60.0, 10.0
# Where one has not got through by then, one gives up.
MAX_ATTEMPTS = 8
MAX_TOTAL_S = 600.0
SEED = 0
PACKAGE, ACTION = "byhand", "train"


def brute_force(
    configuration: Configuration, data_dir: Path, work: Path, before_attempt, samples: str
) -> dict:
    """From the platform's default limits: more memory after every kill, more time after a timeout.

    And more memory too after a second timeout in a row with as much: what thrashes for want of it
    is not helped by time.

    Args:
        configuration: the job; its number of workers plays no part.
        samples: how the action reads them, `pipeline` or `arrays`.
        data_dir: where its data set is.
        work: a folder for the platform's state.
        before_attempt: called before every container is started.
    """
    limits = (FIRST_MEMORY_MB, FIRST_TIMEOUT_S)
    return _run(configuration, data_dir, work, before_attempt, samples, *limits)


def single(
    configuration: Configuration,
    data_dir: Path,
    work: Path,
    before_attempt,
    samples: str,
    memory_mb: int,
) -> dict:
    """With `memory_mb` and as much time as the platform gives, at once."""
    timeout_s = embedded_capacity(EmbeddedOptions()).timeout_max_s
    return _run(configuration, data_dir, work, before_attempt, samples, memory_mb, timeout_s)


def _run(
    configuration: Configuration,
    data_dir: Path,
    work: Path,
    before_attempt,
    samples: str,
    memory_mb: int,
    timeout_s: float,
) -> dict:
    arrays = load_arrays(configuration.dataset, data_dir)
    began_s = time.perf_counter()
    options = EmbeddedOptions(state_dir=work)
    with PrivateRedis() as server, start_embedded(options) as embedded:
        server.ready()
        _put(server.url, arrays)
        arguments = {
            "redis": server.url,
            "samples": samples,
            "prepared": str(data_dir / configuration.dataset / arrays.spec.version),
            "network": configuration.network,
            "train_samples": arrays.spec.train_samples,
            "input_shape": arrays.spec.input_shape,
            "input_dtype": arrays.spec.input_dtype,
            "classes": arrays.spec.classes,
            "batch": configuration.batch,
            "epochs": configuration.epochs,
            "seed": SEED,
        }
        attempts, result = asyncio.run(
            _attempts(embedded.access, arguments, before_attempt, memory_mb, timeout_s)
        )
    last = attempts[-1]["outcome"]
    failed = len(attempts) - (last == "ok")
    return {
        "status": {"ok": "ok", "error": "failed"}.get(last, "gave up"),
        "platform": f"memory enforced by {embedded.enforcement}",
        "error": None if last == "ok" else f"{len(attempts)} attempts, the last: {last}",
        "memory_mb": attempts[-1]["memory_mb"],
        "peak_mb": result.get("peak_mb"),
        "killed": sum(attempt["outcome"] == "oom" for attempt in attempts),
        "timed_out": sum(attempt["outcome"] == "timeout" for attempt in attempts),
        "wall_s": time.perf_counter() - began_s,
        "train_s": result.get("train_s"),
        "accuracy": result.get("accuracy"),
        "containers": len(attempts),
        "restarted": len(attempts) - 1,
        "failed": failed,
        "failure_rate": failed / len(attempts),
        "total_memory_mb": sum(attempt["memory_mb"] for attempt in attempts),
        "gb_s": sum(attempt["memory_mb"] * attempt["duration_s"] for attempt in attempts) / 1024,
        "attempts": attempts,
    }


def _put(url: str, arrays: DatasetArrays) -> None:
    with closing(redis.Redis.from_url(url)) as client:
        for split, x, y in (
            ("train", arrays.train_x, arrays.train_y),
            ("test", arrays.test_x, arrays.test_y),
        ):
            client.set(f"{split}_x", x.tobytes())
            client.set(f"{split}_y", np.asarray(y, np.int32).tobytes())


async def _attempts(access, arguments: dict, before_attempt, memory_mb: int, timeout_s: float):
    """Every attempt, and the result of the last one if it ended well."""
    platform = OpenWhisk(access)
    attempts: list[dict] = []
    began_s = time.perf_counter()
    try:
        await platform.create_package(PACKAGE, {})
        while True:
            before_attempt()
            spec = ActionSpec(
                # A name of its own, so that no container is left from the attempt before.
                name=f"{ACTION}{len(attempts)}",
                image=f"disdel/{TENSORFLOW.image}:{disdel.__version__}",
                code=_bundle(),
                memory_mb=memory_mb,
                timeout_s=timeout_s,
            )
            await platform.create_action(PACKAGE, spec)
            record = await platform.invoke(PACKAGE, spec.name, arguments)
            failure = failure_of(record, memory_mb=memory_mb, last_used_mb=None)
            attempts.append(
                {
                    "memory_mb": memory_mb,
                    "timeout_s": timeout_s,
                    "duration_s": record.duration_ms / 1000,
                    "outcome": "ok" if failure is None else failure.outcome,
                    "reason": None if failure is None else failure.reason,
                }
            )
            if failure is None:
                return attempts, record.result
            spent = len(attempts) == MAX_ATTEMPTS or time.perf_counter() - began_s > MAX_TOTAL_S
            if spent or failure.outcome not in ("oom", "timeout"):
                return attempts, {}
            alike = [(attempt["memory_mb"], attempt["outcome"]) for attempt in attempts[-2:]]
            if failure.outcome == "timeout":
                timeout_s += MORE_TIMEOUT_S
            if failure.outcome == "oom" or alike == [(memory_mb, "timeout")] * 2:
                memory_mb += MORE_MEMORY_MB
    finally:
        await platform.close()


def _bundle() -> bytes:
    """The hand-written action in disdel's bundle, which holds the networks."""
    written = (Path(__file__).parent / "hand_action.py").read_bytes()
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(build_bundle("train"))) as ours,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as theirs,
    ):
        for name in ours.namelist():
            theirs.writestr(name, written if name == "__main__.py" else ours.read(name))
    return buffer.getvalue()
