"""The training samples of a run as they are dealt to any number of clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from disdel.data.partitioners.registry import Asked, find_partitioner
from disdel.errors import PartitionError
from disdel.types.assignment import Assignment, check_cover


class Partition:
    """Deals samples, and checks what a partitioner makes of them.

    Args:
        asked: the partitioner, as `--partition` names it.
        samples: those of the training split.
        seed: the run's.
        read_labels: reads the labels of all samples, (samples,).

    Raises:
        UsageError: there is no such partitioner.
    """

    def __init__(
        self,
        asked: str,
        *,
        samples: int,
        seed: int,
        read_labels: Callable[[], npt.NDArray[Any]],
    ) -> None:
        self._asked = asked
        self._deal, self._number = find_partitioner(asked)
        self._samples = samples
        self._seed = seed
        self._read_labels = read_labels
        self._counts: dict[int, tuple[int, ...]] = {}
        # One of many samples may be large, and the planner asks for many numbers of clients.
        self._last: tuple[int, Assignment] | None = None

    def counts(self, clients: int) -> tuple[int, ...]:
        """The samples of each of `clients` clients; raises as `assignment` does."""
        if clients not in self._counts:
            self._counts[clients] = self.assignment(clients).counts
        return self._counts[clients]

    def assignment(self, clients: int) -> Assignment:
        """The samples of each of `clients` clients, the same ones each time.

        Raises:
            PartitionError: they cannot be dealt to so many: a client would have none, or a sample
                would not have exactly one owner.
        """
        if self._last is None or self._last[0] != clients:
            self._last = clients, self._dealt(clients)
        return self._last[1]

    def _dealt(self, clients: int) -> Assignment:
        told = f"--partition {self._asked} cannot deal {self._samples} samples to {clients} clients"
        if clients > self._samples:
            raise PartitionError(f"{told}: each needs at least one; take fewer")
        asked = Asked(
            samples=self._samples,
            clients=clients,
            seed=self._seed,
            number=self._number,
            read_labels=self._read_labels,
        )
        try:
            dealt = self._deal(asked)
            if not isinstance(dealt, Assignment):
                dealt = Assignment.of_positions(dealt)
                check_cover(dealt.order(), self._samples)
        except PartitionError as error:
            raise PartitionError(f"{told}: {error}") from error
        if len(dealt.counts) != clients:
            raise PartitionError(f"{told}: it makes {len(dealt.counts)} of them")
        if sum(dealt.counts) != self._samples:
            raise PartitionError(f"{told}: it deals {sum(dealt.counts)}")
        if empty := [c for c, count in enumerate(dealt.counts) if not count]:
            others = f" and {len(empty) - 1} others" * (len(empty) > 1)
            raise PartitionError(
                f"{told}: client {empty[0]}{others} would have none; take fewer clients, or "
                "another partition or seed"
            )
        return dealt
