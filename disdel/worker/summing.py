"""What becomes of the updates of an activation's clients: added up where they have trained.

A strategy that must look at each has them stored one by one instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from disdel.errors import UpdateRefused
from disdel.protocol.client_messages import ClientResult, ClientTurn, TrainClientsRequest
from disdel.protocol.messages import UNTRAINED
from disdel.store.base import Store
from disdel.store.codec import encoded
from disdel.strategies.exact_sum import ExactSum
from disdel.types.arrays import Array, Tensors
from disdel.worker.checksums import checksum_of
from disdel.worker.client_turns import bytes_of
from disdel.worker.combine import encoded_sum
from disdel.worker.keeping import store_kept
from disdel.worker.unprotected import Unprotected


class RoundUpdates:
    """The updates of an activation's clients.

    Args:
        request: of the activation.
        store: takes what leaves the container.
        protection: of the updates.
        before: the state that the round began with.
        trained: the names of its tensors that gradients train.
        frozen: the names of those that no update may change: they are in no sum.

    Attributes:
        moved_bytes: of what was stored.
    """

    def __init__(
        self,
        request: TrainClientsRequest,
        store: Store,
        protection: Unprotected,
        before: Tensors,
        trained: Collection[str],
        frozen: Collection[str],
    ) -> None:
        self._request = request
        self._store = store
        self._protection = protection
        self._before = before
        self._trained = tuple(name for name in before if name in trained)
        self._frozen = tuple(name for name in before if name in frozen)
        self._sum: ExactSum | None = None
        if request.exponent is not None:
            summed = {name: value for name, value in before.items() if name not in frozen}
            self._sum = protection.new_sum(summed, request.exponent)
        # Of what gradients train, with weights of their own.
        began = {name: before[name] for name in self._trained}
        self._further = {
            name: ExactSum(began, exponent) for name, exponent in request.exponents.items()
        }
        self.moved_bytes = 0

    def add(self, turn: ClientTurn, after: Tensors, result: ClientResult) -> ClientResult:
        """The result of a client whose update is in the sums, or stored by itself.

        Raises:
            UsageError: as `Protection.add`.
        """
        is_secure = self._protection.is_secure
        try:
            self._sum_up(turn, after, result.loss_sum)
        except UpdateRefused as refused:
            # A value that is too large is one of the client's.
            why = "its update cannot be added" if is_secure else refused
            return replace(result, refused=f"{why} (round {self._request.round})")
        if turn.keeps is not None:
            store_kept(self._store, turn.keeps, after, self._trained)
        if turn.update_key is not None:
            metadata = {"samples": str(result.samples), **self._untrained(after)}
            self._store.put_stream(turn.update_key, encoded(after, metadata))
            self.moved_bytes += bytes_of(after)
        if is_secure:
            # What was trained shows in either.
            return replace(result, loss_sum=0.0)
        ordered = (after[name] for name in self._before if name in after)
        return replace(result, checksum=checksum_of(ordered))

    def _sum_up(self, turn: ClientTurn, after: Tensors, loss_sum: float) -> None:
        """Add a client's update to all sums, or to none of them."""
        if self._sum is None:
            return
        for name in self._frozen:
            if name in after and not _are_same_bits(self._before[name], after[name]):
                raise UpdateRefused(
                    f"{name} is of a frozen layer, and the network's own code has changed it, "
                    "which differential privacy does not cover: train it, or have it as a "
                    "statistic that is not trainable"
                )
        summed = after
        if self._frozen:
            summed = {name: value for name, value in after.items() if name not in self._frozen}
        self._protection.add(self._sum, turn.client, summed, turn.weight, loss_sum)
        for name, total in self._further.items():
            # The changes are those that the sum has just taken, and as bounded.
            if weight := turn.sums[name]:
                own = {one: after[one] for one in self._trained}
                total.add(own, abs(weight), factor=math.copysign(1.0, weight))

    def hand_in(self, clients: Sequence[int]) -> None:
        """Store the sums, which these clients' updates are in."""
        if self._sum is None or not self._sum.updates:
            return
        self._protection.mask(self._sum, clients, self._store)
        metadata = self._untrained(self._before)
        pieces = encoded_sum(self._sum, metadata, self._further)
        self._store.put_stream(self._request.sum_key, pieces)
        sums = (self._sum, *self._further.values())
        self.moved_bytes += sum(one.sums.nbytes + bytes_of(one.largest) for one in sums)

    def _untrained(self, state: Tensors) -> Mapping[str, str]:
        return told_untrained(state, self._trained) if self._request.tells_untrained else {}


def told_untrained(state: Tensors, trained: Collection[str]) -> dict[str, str]:
    """Metadata of a state: which of its tensors gradients do not train."""
    return {UNTRAINED: json.dumps(sorted(state.keys() - set(trained)))}


def _are_same_bits(one: Array, other: Array) -> bool:
    """Whether two arrays of one shape and dtype are, also where they are no numbers."""
    one, other = (np.require(array, requirements="C").reshape(-1) for array in (one, other))
    return np.array_equal(one.view(np.uint8), other.view(np.uint8))
