"""Where the samples of a round's clients are: in the store, written when they are asked."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from disdel.controller.federating.roster import Roster
from disdel.controller.training.splits import SplitSamples
from disdel.controller.training.staging import let_go, targets
from disdel.planner.memory import sample_bytes
from disdel.protocol.keys import RunKeys
from disdel.store.base import Store
from disdel.store.codec import encoded_rows
from disdel.types import DatasetSpec
from disdel.types.client_scores import Part
from disdel.types.units import MIB

# What is kept of clients who have trained, in case they are asked again.
KEPT_BYTES = 512 * MIB


class ClientData(ABC):
    """Makes the samples of clients available to the containers that train them.

    Attributes:
        room_bytes: of the samples that are kept available.
    """

    room_bytes: int = KEPT_BYTES

    @abstractmethod
    def key(self, client: int, part: Part = "train") -> str | None:
        """Where the samples are that a client trains on, or holds out; None where it has them."""

    @abstractmethod
    def make_ready(self, clients: Sequence[int], part: Part = "train") -> None:
        """Have the samples of some clients there, in the order in which they are needed.

        Raises:
            StoreError: they cannot be written.
        """

    def make_round_ready(
        self,
        clients: Sequence[int],
        others: Collection[int],  # noqa: ARG002
    ) -> None:
        """As `make_ready`, for a round's training.

        Args:
            clients: who is asked, in the order in which they are needed.
            others: who still trains for an earlier round.

        Raises:
            StoreError: they cannot be written.
        """
        self.make_ready(clients)


class OwnSamples(ClientData):
    """Clients load their samples themselves, in the action."""

    def key(self, client: int, part: Part = "train") -> str | None:  # noqa: ARG002
        return None

    def make_ready(self, clients: Sequence[int], part: Part = "train") -> None:
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
        is_here: whether the store is in this machine's memory, which has the samples in any case:
            then it keeps those of two rounds' clients, and not all for which there is room.
    """

    def __init__(
        self,
        store: Store,
        keys: RunKeys,
        roster: Roster,
        samples: SplitSamples,
        dataset: DatasetSpec,
        room_mb: int | None,
        *,
        is_here: bool = False,
    ) -> None:
        self._store = store
        self._keys = keys
        self._roster = roster
        self._samples = samples
        self._tensors = {"x": samples.x, "y": targets(samples.y)}
        self._sample_bytes = sample_bytes(dataset)
        # Half of the room, since states and sums need some as well.
        self.room_bytes = KEPT_BYTES if room_mb is None else min(KEPT_BYTES, room_mb * MIB // 2)
        # By key, those that were asked longest ago first.
        self._staged: dict[str, int] = {}
        self._is_here = is_here
        # Of them, those that only rounds have asked for, and those of the last one.
        self._of_rounds: set[str] = set()
        self._of_last_round: frozenset[str] = frozenset()
        # A round may be over before all of its clients' samples are there.
        self._lock = threading.Lock()

    def key(self, client: int, part: Part = "train") -> str:
        whose = "client" if part == "train" else part
        return self._keys.shard("train", f"{whose}-{client}")

    def make_ready(self, clients: Sequence[int], part: Part = "train") -> None:
        with self._lock:
            self._make_ready(clients, part)
            self._of_rounds.difference_update(self.key(client, part) for client in clients)

    def make_round_ready(self, clients: Sequence[int], others: Collection[int]) -> None:
        with self._lock:
            keys = frozenset(map(self.key, clients))
            if self._is_here:
                # Activations of the round before may be on their way to their end.
                wanted = keys | self._of_last_round | frozenset(map(self.key, others))
                for key in [key for key in self._staged if key in self._of_rounds - wanted]:
                    self._delete(key)
            self._of_rounds |= keys - self._staged.keys()
            self._of_last_round = keys
            self._make_ready(clients, "train")

    def _make_ready(self, clients: Sequence[int], part: Part) -> None:
        keys = {client: self.key(client, part) for client in clients}
        missing = [client for client, key in keys.items() if key not in self._staged]
        for key in keys.values():
            if key in self._staged:
                # Now it is one of those that were asked last.
                self._staged[key] = self._staged.pop(key)
        needed_bytes = sum(self._bytes(client, part) for client in missing)
        self._make_room(needed_bytes, frozenset(keys.values()))
        for client in missing:
            rows = self._samples.rows(self._roster.positions(client, part))
            self._store.put_stream(keys[client], encoded_rows(self._tensors, rows))
            self._staged[keys[client]] = self._bytes(client, part)
            # Around each sample that is read, the kernel maps twenty times as much.
            let_go(self._samples.x)

    def _make_room(self, needed_bytes: int, wanted: frozenset[str]) -> None:
        staged_bytes = sum(self._staged.values())
        for key in list(self._staged):
            if staged_bytes + needed_bytes <= self.room_bytes:
                return
            if key not in wanted:
                staged_bytes -= self._delete(key)

    def _delete(self, key: str) -> int:
        """Remove samples from the store; how many bytes they were."""
        self._store.delete(key)
        self._of_rounds.discard(key)
        return self._staged.pop(key)

    def _bytes(self, client: int, part: Part) -> int:
        return self._roster.samples(client, part) * self._sample_bytes
