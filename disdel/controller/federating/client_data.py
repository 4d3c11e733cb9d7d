"""Where the samples of a round's clients are: in the store, written when they are asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from disdel.controller.federating.roster import Roster
from disdel.controller.training.splits import SplitSamples
from disdel.controller.training.staging import targets
from disdel.planner.memory import sample_bytes
from disdel.protocol.keys import RunKeys
from disdel.store.base import Store
from disdel.store.codec import encoded_rows
from disdel.types import DatasetSpec
from disdel.types.units import MIB

# What is kept of clients who have trained, in case they are asked again.
KEPT_BYTES = 512 * MIB


class ClientData(ABC):
    """Makes the samples of clients available to the containers that train them."""

    @abstractmethod
    def key(self, client: int) -> str | None:
        """Where a client's samples are; None where it has them itself."""

    @abstractmethod
    def make_ready(self, clients: Sequence[int]) -> None:
        """Have the samples of a round's clients there, in the order in which they are needed.

        Raises:
            StoreError: they cannot be written.
        """


class OwnSamples(ClientData):
    """Clients load their samples themselves, in the action."""

    def key(self, client: int) -> str | None:  # noqa: ARG002
        return None

    def make_ready(self, clients: Sequence[int]) -> None:
        """There is nothing to do."""


class StagedSamples(ClientData):
    """Samples of the host, written to the store by client, and kept there while there is room.

    Args:
        store: the run's.
        keys: the run's.
        roster: who owns what.
        samples: the training split.
        dataset: what a sample is.
        room_mb: of the store; None where nothing limits it.
    """

    def __init__(
        self,
        store: Store,
        keys: RunKeys,
        roster: Roster,
        samples: SplitSamples,
        dataset: DatasetSpec,
        room_mb: int | None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._roster = roster
        self._samples = samples
        self._tensors = {"x": samples.x, "y": targets(samples.y)}
        self._sample_bytes = sample_bytes(dataset)
        # Half of the room, since states and sums need some as well.
        self._most_bytes = KEPT_BYTES if room_mb is None else min(KEPT_BYTES, room_mb * MIB // 2)
        # By client, those that were asked longest ago first.
        self._staged: dict[int, int] = {}

    def key(self, client: int) -> str:
        return self._keys.shard("train", f"client-{client}")

    def make_ready(self, clients: Sequence[int]) -> None:
        missing = [client for client in clients if client not in self._staged]
        for client in clients:
            if client in self._staged:
                # Now it is one of those that were asked last.
                self._staged[client] = self._staged.pop(client)
        self._make_room(sum(map(self._bytes, missing)), frozenset(clients))
        for client in missing:
            rows = self._samples.rows(self._roster.positions(client))
            self._store.put_stream(self.key(client), encoded_rows(self._tensors, rows))
            self._staged[client] = self._bytes(client)

    def _make_room(self, needed_bytes: int, wanted: frozenset[int]) -> None:
        held_bytes = sum(self._staged.values())
        for client in list(self._staged):
            if held_bytes + needed_bytes <= self._most_bytes:
                return
            if client not in wanted:
                self._store.delete(self.key(client))
                held_bytes -= self._staged.pop(client)

    def _bytes(self, client: int) -> int:
        return self._roster.samples(client) * self._sample_bytes
