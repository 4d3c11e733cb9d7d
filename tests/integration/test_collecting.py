"""Averaging for real: collectWeights actions of the smallest size, a Redis, many workers."""

import asyncio

import numpy as np

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.bundle import build_bundle
from disdel.controller.invoking.invoker import Invoker
from disdel.controller.runs.run_folder import create_run_folder
from disdel.controller.session import open_session
from disdel.controller.training.collecting import Collector
from disdel.platforms.base import ActionSpec
from disdel.protocol import messages
from disdel.protocol.keys import RunKeys
from disdel.settings import Settings
from disdel.store.codec import encode, read_tensors
from disdel.types.events import silent

WORKERS = 64
SMALLEST_MB = 128


def part_of(worker):
    """The weights of one worker: as many as the default network has, and a counter."""
    rng = np.random.default_rng(worker)
    return {
        "kernel": rng.normal(size=(5408, 128)).astype(np.float32),
        "bias": rng.normal(size=128).astype(np.float32),
        "iterations": np.array(worker, np.int64),
    }


async def collect(folder, redis_url, fan_in):
    """Average the workers' updates; the mean, the ledger and the activations."""
    async with open_session(Settings(redis=redis_url)) as session:
        keys = RunKeys(folder.run)
        invoker = Invoker(session, "collecting", keys, folder, silent)
        common = messages.Common(v=messages.WIRE_VERSION, run=folder.run, store=session.store_url)
        await session.platform.create_package("collecting", messages.to_json(common))
        spec = ActionSpec(
            name="collectWeights",
            image=Settings().image("runtime-base"),
            code=build_bundle("collectWeights"),
            memory_mb=SMALLEST_MB,
            timeout_s=60,
        )
        session.store.set_field(keys.open, "wire_version", str(messages.WIRE_VERSION))
        updates = []
        for worker in range(WORKERS):
            key = keys.update(1, worker, 0, 0)
            samples = 100 + worker
            session.store.put(key, encode(part_of(worker), {"samples": str(samples)}))
            updates.append(
                messages.Update(
                    client=worker,
                    worker=worker,
                    attempt=0,
                    key=key,
                    samples=samples,
                    weight=samples,
                )
            )
        collector = Collector(
            action=SizedAction(session.platform, "collecting", spec, timeout_max_s=60),
            memory_mb=lambda: SMALLEST_MB,
            invoker=invoker,
            fan_in=fan_in,
            memory_max_mb=SMALLEST_MB,
        )
        ledger = await collector.collect(1, updates)
        await invoker.logs.finish()
        mean = read_tensors(session.store, keys.state(1))
        session.store.delete_prefix(keys.prefix)
        return mean, ledger, invoker.journal.activations


def test_the_weights_of_64_workers_fit_through_small_actions(tmp_path, redis_url):
    folder = create_run_folder(tmp_path, "train", "digits")
    mean, ledger, activations = asyncio.run(collect(folder, redis_url, fan_in=16))
    weights = np.arange(100, 100 + WORKERS, dtype=np.float64)
    for name in ("kernel", "bias"):
        expected = sum(
            part_of(worker)[name].astype(np.float64) * weight
            for worker, weight in enumerate(weights)
        )
        np.testing.assert_allclose(mean[name], expected / weights.sum(), rtol=1e-4, atol=1e-6)
    assert mean["iterations"] == WORKERS - 1
    assert [entry.worker for entry in ledger] == list(range(WORKERS))
    assert [entry.samples for entry in ledger] == weights.astype(int).tolist()
    # One that starts a container, four groups, and their average.
    assert len(activations) == 1 + 4 + 1
    assert all(entry.outcome == "ok" for entry in activations)
    assert all(entry.memory_mb == SMALLEST_MB for entry in activations)
    assert all(entry.peak_mb < SMALLEST_MB for entry in activations)
