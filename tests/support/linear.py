"""A train action that is numpy alone: everything of a worker is real but for its network.

`disdel` with it, as a command: `python -m tests.support.linear train digits …`.
"""

import asyncio
from dataclasses import replace

import pytest

from disdel import __main__ as command
from disdel.controller.invoking.bundle import build_bundle
from disdel.controller.training import speculation
from disdel.controller.training import train as train_module
from disdel.platforms.base import ActionSpec
from disdel.runtimes import registry
from disdel.runtimes.registry import BASE_IMAGE, TENSORFLOW
from disdel.settings import Settings
from disdel.types import TrainJob
from tests.support.held import held

MAIN = '''
import os
import signal
import time

import numpy as np

from disdel.runtimes.base import Scored, Trainer
from disdel.worker import clients, network, shards, tasks


class Linear(Trainer):
    """Softmax regression by plain gradient descent."""

    model_suffix = ".keras"

    def __init__(self):
        self.w = self.b = None

    def state(self):
        if self.w is None:
            self.w, self.b = np.zeros((64, 10), np.float32), np.zeros(10, np.float32)
        return {"w": self.w, "b": self.b}

    def load_state(self, tensors):
        self.w, self.b = tensors["w"].copy(), tensors["b"].copy()

    def trained(self):
        return "w", "b"

    def add_terms(self, terms):
        assert terms is None

    def _errors(self, x, y):
        x = x.reshape(len(x), -1).astype(np.float32) / 255
        logits = x @ self.w + self.b
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        loss = float(-np.log(p[np.arange(len(y)), y] + 1e-9).sum())
        hits = int((p.argmax(axis=1) == y).sum())
        p[np.arange(len(y)), y] -= 1
        return x, p / len(y), loss, hits

    def train(self, x, y, micro_batches=1, rate_factors=None, seeds=None):
        total = 0.0
        for xs, ys in zip(x, y):
            xs, error, loss, _ = self._errors(xs, ys)
            self.w = self.w - np.float32(0.5) * (xs.T @ error)
            self.b = self.b - np.float32(0.5) * error.sum(axis=0)
            total += loss
        return total

    def score(self, x, y):
        _, _, loss, hits = self._errors(x, y)
        return Scored(loss, hits)

    def save_model(self, path):
        path.write_bytes(self.w.tobytes() + self.b.tobytes())


class LinearTrainers(network.TrainerCache):
    def import_framework(self, runtime):
        self.framework = network.footprint_now()

    def get(self, network, input_dtype):
        return Linear()


class PerilousShards(shards.ShardCache):
    """With KILL in the environment, about a third of a round's clients kill their container.

    "once": in the first attempt; "always": in all. With SLOW, the first round is over before the
    second container is through with its first client, and the second one is not before that.
    """

    request = None

    def get(self, key, context, use):
        peril, request = os.environ.get("KILL"), self.request
        if peril and use == "train" and (peril == "always" or not request.attempt):
            client = int(key.rpartition("-")[2])
            if np.random.default_rng((request.round, client)).random() < 1 / 3:
                os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get("SLOW") and use == "train":
            end = time.monotonic() + 60
            while not self.may_go_on(context.store) and time.monotonic() < end:
                time.sleep(0.02)
        return super().get(key, context, use)

    def may_go_on(self, store):
        """Whether what a slow round waits for is there."""
        place = number, _ = self.request.round, self.request.worker
        waits_for = [f"{self.request.state_key.rpartition(':')[0]}:{number}"]
        if place == (2, 0):
            late = self.request.sum_key.replace(":sum:2:0:", ":sum:1:1:")
            waits_for += [f"{late.rpartition(':')[0]}:{attempt}" for attempt in range(5)]
        if place not in ((1, 1), (2, 0)):
            return True
        return any(store.open(each) is not None for each in waits_for)


def train_clients(request, *others):
    PerilousShards.request = request
    return plain(request, *others)


plain, clients.train_clients = clients.train_clients, train_clients
shards.ShardCache = PerilousShards
network.TrainerCache = LinearTrainers
'''


def linear_action(name, memory_mb, *, plan, settings, files, **ignored):
    """In the place of `controller.train._action`."""
    return ActionSpec(
        name=name,
        image=settings.image(BASE_IMAGE),
        code=held(build_bundle(name, files=files), MAIN) if name == "train" else build_bundle(name),
        memory_mb=memory_mb,
        timeout_s=plan.timeout_s,
    )


def linear_job(apihost, auth, redis, data_dir, run_dir, listener, **changes):
    """A training of an instant: its report and folder."""
    settings = Settings(
        apihost=apihost, auth=auth, redis=redis, data_dir=data_dir, run_dir=run_dir, **changes
    )
    job = TrainJob(dataset="digits", workers=2, epochs=3, runtime="tensorflow")
    with pytest.MonkeyPatch.context() as patch:
        take_place(patch)
        return asyncio.run(train_module.train(job, settings, listener))


def outcome(report):
    """What decides that two trainings have come to the same weights."""
    scores = [(entry.loss, entry.accuracy) for entry in report.rounds]
    return scores, [(entry.round, entry.worker, entry.checksum) for entry in report.ledger]


def take_place(patch):
    """Let trainings of this process be such, as far as a `pytest.MonkeyPatch` reaches."""
    patch.setattr(train_module, "_action", linear_action)
    # A container that has to start again is late where the machine does much else.
    patch.setattr(speculation, "LATE_MARGIN_S", 600.0)
    # No embedded platform imports the framework ahead.
    patch.setitem(registry._runtimes, "tensorflow", replace(TENSORFLOW, image=BASE_IMAGE))


if __name__ == "__main__":
    take_place(pytest.MonkeyPatch())
    command.main()
