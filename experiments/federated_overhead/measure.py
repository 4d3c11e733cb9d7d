#!/usr/bin/env python3
"""What a client of a federation takes beside its steps, in a container that trains many in turn.

usage: measure.py [--clients N] [--repeats N] [--settings NAME ...]

The worker's side is as in an action, with a Redis of its own, but in this process: shards are read,
weights reset, steps taken, updates checked and summed. CPU seconds of the process stand beside wall
seconds, which on a busy machine tell of the others. `bare` is what the framework takes for the same
steps: the sum of the calls of `Trainer.train`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from disdel.models import built_in
from disdel.protocol import client_messages, messages
from disdel.protocol.keys import RunKeys
from disdel.runtimes.base import Trainer
from disdel.runtimes.torch.optimizers import Group, TorchOptimizer, keras_rule
from disdel.runtimes.torch.recipe import OF_CLASSES
from disdel.runtimes.torch.trainer import TorchTrainer, pin_threads
from disdel.store.codec import encode
from disdel.store.private_redis import PrivateRedis
from disdel.store.redis_store import RedisStore
from disdel.strategies.exact_sum import exponent_for
from disdel.worker.client_turns import RoundState
from disdel.worker.clients import train_clients
from disdel.worker.context import Context
from disdel.worker.network import TrainerCache
from disdel.worker.run_store import RunStore
from disdel.worker.shards import ShardCache
from openwhisk_local.containers.cgroups import open_cgroups
from openwhisk_local.machine.container_memory import (
    STATE_ENV,
    MemoryMonitor,
    own_cgroup,
    watch_memory,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "federated_peers"))
import networks

BATCH = 10


@dataclass(frozen=True)
class Setting:
    """Clients with `samples` each that train `epochs` on a network of `federated_peers`."""

    samples: int
    epochs: int
    shape: tuple[int, ...]
    network: str


# FedKeeper's, the same with as few steps as pfl-research's, and pfl-research's.
SETTINGS = {
    "600x5": Setting(600, 5, (1, 28, 28), "cnn2"),
    "50x1": Setting(50, 1, (1, 28, 28), "cnn2"),
    "pfl": Setting(50, 1, (3, 32, 32), "small_cnn"),
}
RATE = 0.01


class Networks(TrainerCache):
    """Has the network of a setting, as a container has it that has built it."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        pin_threads(1)
        module = getattr(networks, setting.network)(setting.shape)
        group = Group(keras_rule("sgd", RATE), dict(module.named_parameters()))
        recipe = replace(OF_CLASSES, loss=networks.loss, preprocess=networks.preprocess)
        self.trainer = TorchTrainer(
            module, optimizer=TorchOptimizer([group]), save=Path.touch, recipe=recipe
        )

    def get(self, network: messages.Network, samples: np.ndarray) -> Trainer:  # noqa: ARG002
        return self.trainer


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


@contextmanager
def container() -> Iterator[None]:
    """This process in a memory cgroup, watched as the action proxy does, where one can be made."""
    own, cgroups = own_cgroup(), open_cgroups(f"measured-{os.getpid()}")
    cell = None if cgroups is None else cgroups.cell("measured", 8 << 30, Path())
    with TemporaryDirectory() as folder:
        if cell is not None:
            (cell.cgroup.folder / "cgroup.procs").write_text(str(os.getpid()))
        os.environ[STATE_ENV] = str(Path(folder) / "memory.json")
        try:
            with MemoryMonitor(state_path=Path(os.environ[STATE_ENV])):
                yield
        finally:
            if own is not None and cgroups is not None:
                (own.folder / "cgroup.procs").write_text(str(os.getpid()))
                cgroups.close()


def measure(name: str, store: RunStore, clients: int, repeats: int) -> dict:
    setting = SETTINGS[name]
    keys, random = RunKeys(f"measured-{name}"), np.random.default_rng(0)
    steps = setting.epochs * -(-setting.samples // BATCH)
    turns = []
    for client in range(clients):
        key = keys.shard("train", f"client-{client}")
        x = random.integers(0, 255, (setting.samples, *setting.shape), dtype=np.uint8)
        y = random.integers(0, 10, setting.samples).astype(np.int32)
        store.put(key, encode({"x": x, "y": y}))
        turns.append(
            client_messages.ClientTurn(
                client=client,
                shard_key=key,
                start_step=0,
                stop_step=steps,
                batch_size=BATCH,
                weight=setting.samples * setting.epochs,
            )
        )
    request = client_messages.TrainClientsRequest(
        network=messages.Network(
            runtime="torch",
            model=built_in("cnn2", input_shape=(28, 28, 1), classes=10),  # Networks has another.
            optimizer="sgd",
            learning_rate=RATE,
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
    trainers, shards, states = Networks(setting), ShardCache(), RoundState()
    rows = []
    with watch_memory() as memory:
        for repeat in range(repeats + 1):
            bare = Bare(trainers.trainer)
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            context = Context(store, time.time() + 3600, memory)
            train_clients(request, context, trainers, shards, states)
            wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
            del trainers.trainer.train
            if not repeat:
                continue  # The first steps are slower.
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
    return {
        "setting": name,
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
    parser.add_argument("--settings", nargs="+", default=["50x1", "pfl"], choices=SETTINGS)
    asked = parser.parse_args()
    with PrivateRedis() as server:
        server.ready()
        store = RunStore(RedisStore(server.url), "measured")
        with container():
            for name in asked.settings:
                found = measure(name, store, asked.clients, asked.repeats)
                print(json.dumps(found), flush=True)
        store.close()


if __name__ == "__main__":
    main()
