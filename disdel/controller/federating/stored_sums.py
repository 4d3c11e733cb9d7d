"""Sums of updates that containers have stored: whether one is what its reply says.

A round has one average, which a sum that is none would leave without. Where containers are of
several owners, each sum is looked at when its reply is there, so its own clients alone go without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from disdel.errors import StoreError, StoreLost
from disdel.protocol.client_messages import TrainClientsReply, TrainClientsRequest
from disdel.protocol.protection import COUNTS
from disdel.store.base import Store
from disdel.store.codec import Header, read_header
from disdel.store.states import is_sum_of


@dataclass(slots=True)
class StoredSums:
    """Looks at the sums of a run. Of its states, which all of a round begin with, the last is kept.

    Attributes:
        store: where they lie.
    """

    store: Store
    _state: tuple[str, Header] | None = None

    def odd(self, sent: TrainClientsRequest, reply: TrainClientsReply) -> str | None:
        """Why what lies at a request's `sum_key` is not the sum that its reply tells of, if so.

        Its head is read, and its numbers are not: what they are is up to who has trained.

        Raises:
            StoreLost: the store does not answer.
        """
        weights = {turn.client: turn.weight for turn in sent.turns}
        counted = [weights[result.client] for result in reply.results if not result.refused]
        if sent.exponent is None or not counted:
            return None
        try:
            header = read_header(self.store.existing(sent.sum_key))
            state = self._state_head(sent.state_key)
            told = header.metadata
            updates, weight = int(told["updates"]), float(told["weight"])
            exponent = int(told["exponent"])
            counts = 0 if sent.clipping is None and sent.secure is None else COUNTS
            alike = is_sum_of(header, state, counts=counts, further=sent.exponents)
        except StoreLost:
            raise
        except (StoreError, AttributeError, KeyError, TypeError, ValueError) as error:
            return f"its sum of updates is none ({str(error)[:200]})"
        if updates != len(counted) or not math.isclose(weight, math.fsum(counted)):
            return (
                f"its sum is made of {updates} updates of weight {weight:g}, and it tells of "
                f"{len(counted)} of weight {math.fsum(counted):g}"
            )
        if exponent != sent.exponent or not alike:
            return "its sum is of another network or another round"
        return None

    def _state_head(self, key: str) -> Header:
        if self._state is None or self._state[0] != key:
            self._state = (key, read_header(self.store.existing(key)))
        return self._state[1]
