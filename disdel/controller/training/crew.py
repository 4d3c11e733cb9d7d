"""The workers of a run, whose number may change between rounds, and the clients they train."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from disdel.data.partitioners import Partition
from disdel.errors import UsageError
from disdel.planner.scaling import next_workers
from disdel.types import Activation, Plan
from disdel.types.assignment import Assignment


class Crew:
    """Cuts a run for the workers that its policy wants.

    Args:
        plan: what the run begins with.
        planned: the plan for a number of workers; raises `UsageError` where there is none.
        partition: deals the training samples to clients.
    """

    def __init__(self, plan: Plan, planned: Callable[[int], Plan], partition: Partition) -> None:
        self.plan = plan
        self.partition = partition
        self.has_changed = False
        self._planned = planned

    def after(self, epochs: Sequence[tuple[int, float]], most: int | None) -> Plan:
        """The plan of the next round, now `plan`, after epochs as `next_workers` takes them."""
        workers = next_workers(epochs, most=most, fits=lambda wanted: self._cut(wanted) is not None)
        cut = self._cut(workers)
        if cut is not None and workers != self.plan.workers:
            self.plan, self.has_changed = cut, True
        return self.plan

    @property
    def assignment(self) -> Assignment:
        """The training samples of each client of the present plan."""
        return self.partition.assignment(len(self.plan.client_samples))

    def _cut(self, workers: int) -> Plan | None:
        """The present plan for so many workers; None where a limit is in the way.

        Containers stay warm while their memory and threads stay as they are, so memory only grows.
        """
        try:
            planned = self._planned(workers)
        except UsageError:
            return None
        memory_mb = max(self.plan.memory_mb, planned.memory_mb)
        pool_mb = self.plan.pool_mb
        if pool_mb is not None and workers * memory_mb + self.plan.collect_memory_mb > pool_mb:
            return None
        return replace(
            self.plan,
            workers=workers,
            memory_mb=memory_mb,
            client_samples=planned.client_samples,
            turns=planned.turns,
            test_slices=planned.test_slices,
            validation_slices=planned.validation_slices,
        )


def epoch_of(activations: Sequence[Activation]) -> tuple[int, float]:
    """A round's workers, and the seconds that the slowest of them trained.

    Starts of containers do not count: they come once, and a worker that is new has one.
    """
    trained_s: dict[int, float] = defaultdict(float)
    for entry in activations:
        if entry.worker is not None and entry.train_s is not None:
            trained_s[entry.worker] += entry.train_s
    return len(trained_s), max(trained_s.values(), default=0.0)
