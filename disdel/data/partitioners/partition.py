"""The training samples of a run as they are dealt to any number of clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from disdel.data.partitioners.own import own_partitioner
from disdel.data.partitioners.registry import Asked, find_partitioner
from disdel.errors import PartitionError
from disdel.types.assignment import Assignment, ClientIds, check_cover
from disdel.types.named import read_named


def _no_ids(column: str) -> ClientIds:
    raise PartitionError(f"there is no column {column!r}: samples of this kind have none")


class Partition:
    """Deals samples, and checks what a partitioner makes of them.

    Args:
        asked: the partitioner, as `--partition` names it.
        samples: those of the training split.
        seed: the run's.
        read_labels: reads the labels of all samples, (samples,).
        read_ids: reads a column that tells whose each sample is, by its name.

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
        read_ids: Callable[[str], ClientIds] = _no_ids,
    ) -> None:
        self._asked = asked
        named = read_named(asked)
        self._found = own_partitioner(named) if named.is_entry else find_partitioner(named)
        self._samples = samples
        self._seed = seed
        self._read_labels = read_labels
        self._read_ids = read_ids
        self._counts: dict[int, tuple[int, ...]] = {}
        # One of many samples may be large, and the planner asks for many numbers of clients.
        self._last: tuple[int, Assignment] | None = None
        self._decided: int | None = None

    @property
    def samples(self) -> int:
        """Those of the training split."""
        return self._samples

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

    @property
    def decided_clients(self) -> int | None:
        """How many clients there are, where the samples say so; raises as `assignment` does."""
        if not self._found.decides_clients:
            return None
        if self._decided is None:
            self._decided = self._dealt(None).clients
        return self._decided

    def _dealt(self, clients: int | None) -> Assignment:
        """Dealt to so many clients; None leaves it to a partitioner that decides it."""
        among = "clients" if clients is None else f"{clients} clients"
        told = f"--partition {self._asked} cannot deal {self._samples} samples to {among}"
        if clients is not None and clients > self._samples:
            raise PartitionError(f"{told}: each needs at least one; take fewer")
        asked = Asked(
            samples=self._samples,
            clients=clients or 1,
            seed=self._seed,
            read_labels=self._read_labels,
            read_ids=self._read_ids,
        )
        try:
            dealt = self._found.deal(asked)
            if not isinstance(dealt, Assignment):
                dealt = Assignment.of_positions(dealt)
                check_cover(dealt.order(), self._samples)
        except PartitionError as error:
            raise PartitionError(f"{told}: {error}") from error
        if clients not in (None, dealt.clients):
            why = ", one for each value" if self._found.decides_clients else ""
            raise PartitionError(f"{told}: it makes {dealt.clients} of them{why}")
        if dealt.sizes.sum() != self._samples:
            raise PartitionError(f"{told}: it deals {dealt.sizes.sum()}")
        empty = np.flatnonzero(dealt.sizes == 0)
        if len(empty):
            further = len(empty) - 1
            others = f" and {further} other{'s' * (further > 1)}" * (further > 0)
            raise PartitionError(
                f"{told}: client {empty[0]}{others} would have none; take fewer clients, or "
                "another partition or seed"
            )
        return dealt
