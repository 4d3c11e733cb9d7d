#!/usr/bin/env python3
"""What a client of a federation takes beside its steps, in a container that trains many in turn.

usage: measure.py [--clients N] [--repeats N] [--runtime NAME] [--settings NAME ...]

The worker's side is as in an action, with a Redis of its own, but in this process: shards are read,
weights reset, steps taken, updates checked and summed. CPU seconds of the process stand beside wall
seconds, which on a busy machine tell of the others. `bare` is what the framework takes for the same
steps: the sum of the calls of `Trainer.train`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np

from disdel.models import built_in
from disdel.protocol import messages
from disdel.protocol.keys import RunKeys
from disdel.runtimes.base import Trainer
from disdel.store.codec import encode
from disdel.store.private_redis import PrivateRedis
from disdel.strategies.exact_sum import exponent_for
from disdel.worker.clients import RoundState, train_clients
from disdel.worker.context import Context
from disdel.worker.network import TrainerCache
from disdel.worker.run_store import RunStore
from disdel.worker.shards import ShardCache
from openwhisk_local.machine.container_memory import watch_memory

BATCH = 10
# Samples and local epochs of a client: pfl-research's and FedKeeper's.
SETTINGS = {"50x1": (50, 1), "600x5": (600, 5)}


class Bare:
    """Adds up what a trainer's steps take."""

    def __init__(self, trainer: Trainer) -> None:
        self.wall_s = self.cpu_s = 0.0
        plain = trainer.train

        def train(*arguments: object) -> float:
            wall_s, cpu_s = time.perf_counter(), time.thread_time()
            try:
                return plain(*arguments)  # type: ignore[arg-type]
            finally:
                self.wall_s += time.perf_counter() - wall_s
                self.cpu_s += time.thread_time() - cpu_s

        trainer.train = train  # type: ignore[method-assign]


def measure(name: str, store: RunStore, clients: int, runtime: str, repeats: int) -> dict:
    samples, epochs = SETTINGS[name]
    keys, random = RunKeys("measured"), np.random.default_rng(0)
    steps = epochs * -(-samples // BATCH)
    turns = []
    for client in range(clients):
        key = keys.shard("train", f"client-{client}")
        x = random.integers(0, 255, (samples, 28, 28, 1), dtype=np.uint8)
        y = random.integers(0, 10, samples).astype(np.int32)
        store.put(key, encode({"x": x, "y": y}))
        turns.append(
            messages.ClientTurn(
                client=client,
                shard_key=key,
                start_step=0,
                stop_step=steps,
                batch_size=BATCH,
                weight=samples * epochs,
            )
        )
    request = messages.TrainClientsRequest(
        network=messages.Network(
            runtime=runtime,
            model=built_in("cnn2", input_shape=(28, 28, 1), classes=10),
            optimizer="sgd",
            learning_rate=0.01,
            seed=0,
            threads=1,
        ),
        worker=0,
        round=1,
        segment=0,
        attempt=0,
        turns=tuple(turns),
        micro_batches=1,
        block_steps=32,
        heed_memory=True,
        state_key=keys.state(0),
        initialise=True,
        exponent=exponent_for([turn.weight for turn in turns]),
        sum_key=keys.sum(1, 0, 0, 0),
        checkpoint_key=keys.begun(1, 0, 0, 0),
        progress_key=keys.progress,
        open_key=keys.open,
    )
    trainers, shards, states = TrainerCache(), ShardCache(), RoundState()
    rows = []
    with watch_memory() as memory:
        for repeat in range(repeats + 1):
            bare = Bare(trainers._trainer) if trainers._trainer else None
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            context = Context(store, time.time() + 3600, memory)
            train_clients(request, context, trainers, shards, states)
            wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
            if bare is None or not repeat:
                continue  # It has imported and built.
            rows.append(
                {
                    "wall_ms": wall_s * 1000 / clients,
                    "cpu_ms": cpu_s * 1000 / clients,
                    "bare_wall_ms": bare.wall_s * 1000 / clients,
                    "bare_cpu_ms": bare.cpu_s * 1000 / clients,
                    "beyond_wall": wall_s / bare.wall_s - 1,
                    "beyond_cpu": cpu_s / bare.cpu_s - 1,
                }
            )
            del trainers._trainer.train
    return {
        "setting": name,
        "runtime": runtime,
        "clients": clients,
        "steps": steps,
        **{
            key: {"least": min(values), "median": statistics.median(values), "most": max(values)}
            for key in rows[0]
            if (values := [row[key] for row in rows])
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runtime", default="torch")
    parser.add_argument("--settings", nargs="+", default=["50x1"], choices=SETTINGS)
    asked = parser.parse_args()
    with PrivateRedis() as server:
        server.ready()
        store = RunStore(server.url, "measured")
        for name in asked.settings:
            found = measure(name, store, asked.clients, asked.runtime, asked.repeats)
            print(json.dumps(found), flush=True)
        store.close()


if __name__ == "__main__":
    main()
