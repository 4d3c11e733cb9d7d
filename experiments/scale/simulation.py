"""A run of disdel on a cluster, as discrete events.

What is in it: invokers with user memory and cores, cold starts that share the cores, workers that
share them while they train, stragglers and lost containers that run again, a Redis whose one
network link and one thread every byte passes, containers with links of their own, a controller that
starts activations one after another, and collectWeights actions, alone or in a tree.

What is not: evictions, other tenants, disks, and time limits; a round is one segment.

Times are seconds, sizes bytes, rates bytes a second.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

Process = Generator[simpy.Event, Any, Any]

# Requests to Redis are served in pieces, so that a large one does not hold up the small ones.
PIECE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one run does, per round: from a plan and from measurements.

    Attributes:
        rounds: forks and joins.
        samples: training samples of all workers together.
        batch_size: samples of a step.
        step_s: one training step on `threads` threads of an otherwise idle invoker.
        state_bytes: weights and optimizer state.
        sample_bytes: one stored sample with its label.
        score_s: scoring the held-out split on one worker; shared by all of them.
        memory_mb: limit of a train container.
        collect_memory_mb: limit of a collectWeights container.
    """

    rounds: int
    samples: int
    batch_size: int
    step_s: float
    state_bytes: int
    sample_bytes: int
    score_s: float
    memory_mb: int
    collect_memory_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Where it runs.

    Attributes:
        invokers: machines that run containers.
        user_memory_mb: of one invoker.
        cores: of one invoker.
        redis_rate: bytes a second that the Redis server moves.
        container_rate: bytes a second of one container's link.
        redis_operation_s: a request to Redis without its bytes.
        invoke_s: the controller's time to start one activation.
        activation_s: the platform's time beside the action's own, for one activation.
        framework_cpu_s: CPU time to start a container, import the framework and build a network.
        plain_cold_s: start of a container without a framework.
        average_rate: bytes a second that collectWeights averages, once it has them.
        jitter: standard deviation of the logarithm of a worker's time.
        straggler_share: of the workers' rounds take `straggler_factor` times as long.
        straggler_factor: see above.
        loss_share: of the train activations are lost somewhere on the way and run again.
        start_s: starting the command, the platform and Redis; ending them.
    """

    invokers: int
    user_memory_mb: int
    cores: int
    redis_rate: float = 1.2e9
    container_rate: float = 1.2e9
    redis_operation_s: float = 2e-4
    invoke_s: float = 2e-3
    activation_s: float = 0.02
    framework_cpu_s: float = 3.0
    plain_cold_s: float = 0.4
    average_rate: float = 6e8
    jitter: float = 0.02
    straggler_share: float = 0.0
    straggler_factor: float = 3.0
    loss_share: float = 0.0
    start_s: float = 1.5


@dataclass(slots=True)
class Outcome:
    """What happened: wall time, and what the rounds spent it on (sums over the rounds)."""

    wall_s: float = 0.0
    train_s: float = 0.0
    collect_s: float = 0.0
    score_s: float = 0.0
    containers: int = 0
    lost: int = 0
    redis_busy_s: float = 0.0


class NoRoomError(Exception):
    """The cluster's memory does not hold the containers."""


@dataclass
class Simulation:
    """One run of `workers` workers; `fan_in` None averages everything in one action."""

    work: Work
    cluster: Cluster
    workers: int
    fan_in: int | None
    seed: int = 0
    outcome: Outcome = field(default_factory=Outcome)

    def run(self) -> Outcome:
        """Simulate to the end of the run."""
        self._rng = np.random.default_rng(self.seed)
        self._env = simpy.Environment()
        self._redis = simpy.Resource(self._env, capacity=1)
        self._controller = simpy.Resource(self._env, capacity=1)
        self._place()
        self._warm_collectors = 0
        main = self._env.process(self._job())
        self._env.run(until=main)
        self.outcome.wall_s = self._env.now
        return self.outcome

    def _place(self) -> None:
        """Spread the train containers evenly; `_crowd` is how many share each worker's invoker."""
        slots = self.cluster.user_memory_mb // self.work.memory_mb
        if slots * self.cluster.invokers < self.workers:
            raise NoRoomError(
                f"{self.workers} containers of {self.work.memory_mb} MB do not fit in "
                f"{self.cluster.invokers} invokers of {self.cluster.user_memory_mb} MB"
            )
        counts = np.bincount(np.arange(self.workers) % self.cluster.invokers)
        self._crowd = counts[np.arange(self.workers) % self.cluster.invokers]
        self.outcome.containers += self.workers

    def _job(self) -> Process:
        yield self._env.timeout(self.cluster.start_s)
        for number in range(self.work.rounds):
            began = self._env.now
            workers = [self._env.process(self._worker(w, number)) for w in range(self.workers)]
            yield self._env.all_of(workers)
            trained = self._env.now
            yield self._env.process(self._collect())
            collected = self._env.now
            scores = [self._env.process(self._score(w)) for w in range(self.workers)]
            yield self._env.all_of(scores)
            self.outcome.train_s += trained - began
            self.outcome.collect_s += collected - trained
            self.outcome.score_s += self._env.now - collected

    def _worker(self, worker: int, number: int) -> Process:
        yield self._env.process(self._invoke())
        if number == 0:
            yield self._env.timeout(self._cold_s(worker))
            shard = self.work.samples / self.workers * self.work.sample_bytes
            # Staged by the controller and fetched by the worker.
            yield self._env.process(self._transfer(2 * shard))
        while True:
            yield self._env.process(self._transfer(self.work.state_bytes))
            train_s = self._train_s(worker)
            if self._rng.random() >= self.cluster.loss_share:
                break
            self.outcome.lost += 1
            yield self._env.timeout(train_s * self._rng.random() + self._cold_s(worker))
        yield self._env.timeout(train_s)
        yield self._env.process(self._transfer(self.work.state_bytes))

    def _cold_s(self, worker: int) -> float:
        return self.cluster.framework_cpu_s * max(1.0, self._crowd[worker] / self.cluster.cores)

    def _train_s(self, worker: int) -> float:
        steps = math.ceil(self.work.samples / self.workers / self.work.batch_size)
        sharing = max(1.0, self._crowd[worker] / self.cluster.cores)
        factor = float(np.exp(self._rng.normal(0.0, self.cluster.jitter)))
        if self._rng.random() < self.cluster.straggler_share:
            factor *= self.cluster.straggler_factor
        return steps * self.work.step_s * sharing * factor

    def _score(self, worker: int) -> Process:
        yield self._env.process(self._invoke())
        yield self._env.process(self._transfer(self.work.state_bytes))
        sharing = max(1.0, self._crowd[worker] / self.cluster.cores)
        yield self._env.timeout(self.work.score_s / self.workers * sharing)

    def _collect(self) -> Process:
        """Average everything at once, or level by level."""
        parts = self.workers
        while self.fan_in is not None and parts > self.fan_in:
            groups = [min(self.fan_in, parts - i) for i in range(0, parts, self.fan_in)]
            yield self._env.all_of([self._env.process(self._average(size)) for size in groups])
            parts = len(groups)
            self._warm_collectors = max(self._warm_collectors, parts)
        yield self._env.process(self._average(parts))
        self._warm_collectors = max(self._warm_collectors, 1)

    def _average(self, parts: int) -> Process:
        yield self._env.process(self._invoke())
        if self._warm_collectors == 0:
            self.outcome.containers += 1
            yield self._env.timeout(self.cluster.plain_cold_s)
        for _ in range(parts):
            yield self._env.process(self._transfer(self.work.state_bytes))
        yield self._env.timeout(parts * self.work.state_bytes / self.cluster.average_rate)
        yield self._env.process(self._transfer(self.work.state_bytes))

    def _invoke(self) -> Process:
        with self._controller.request() as turn:
            yield turn
            yield self._env.timeout(self.cluster.invoke_s)
        yield self._env.timeout(self.cluster.activation_s)

    def _transfer(self, size: float) -> Process:
        """Bytes between a container and Redis: a turn at the server, then a slower link."""
        left = float(size)
        while True:
            piece = min(left, PIECE_BYTES)
            served_s = self.cluster.redis_operation_s + piece / self.cluster.redis_rate
            with self._redis.request() as turn:
                yield turn
                yield self._env.timeout(served_s)
            self.outcome.redis_busy_s += served_s
            slower_s = piece / self.cluster.container_rate - served_s
            if slower_s > 0:
                yield self._env.timeout(slower_s)
            left -= piece
            if left <= 0:
                return
