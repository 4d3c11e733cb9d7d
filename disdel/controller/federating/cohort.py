"""A round of a federation as it comes in: who has answered, who has not and why."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from disdel.protocol import client_messages

# Where nobody has answered after so many lost activations, it is not the clients.
_MOST_FAILURES = 8


@dataclass(frozen=True, slots=True)
class Answered:
    """A client whose update counts: what it did, where, and where the update is, if by itself."""

    result: client_messages.ClientResult
    worker: int
    attempt: int
    weight: float
    update_key: str | None
    # Its part of what its activation has moved between the store and the container.
    bytes: int


@dataclass(slots=True)
class Cohort:
    """A round as it comes in, or a score of its model by client, or what samples clients have.

    Attributes:
        number: of the round.
        task: what clients do: in all but the first case, nothing is averaged.
        turns: of the clients that are asked.
        exponent: of the sums; None where each update is stored.
        exponents: of further sums, by name.
        answered: by client.
        dropped: why a client's update does not count, by client.
        late: those of them that had not ended when the round was over.
        ended: those of them whose container has ended, each time, while they alone trained there.
        sum_keys: where the sums are that count.
        kept: where clients have left what they keep by the strategy, by client.
        own_keys: all that may have been left so, also by activations that were lost.
        secure: the secure sum of the round, where there is one.
        spent: keys that nobody reads after the round.
        moved_bytes: of states, updates and sums, between the store and the containers.
        training: whom the present activation of each container trains.
        is_heard: whether some have answered whom the whole round has taken in.
    """

    number: int
    turns: dict[int, client_messages.ClientTurn]
    exponent: int | None
    exponents: dict[str, int] = field(default_factory=dict)
    task: Literal["train", "score", "count"] = "train"
    answered: dict[int, Answered] = field(default_factory=dict)
    dropped: dict[int, str] = field(default_factory=dict)
    late: frozenset[int] = frozenset()
    ended: frozenset[int] = frozenset()
    sum_keys: list[str] = field(default_factory=list)
    kept: dict[int, str] = field(default_factory=dict)
    spent: list[str] = field(default_factory=list)
    own_keys: set[str] = field(default_factory=set)
    secure: client_messages.SecureSession | None = None
    segments: Counter[int] = field(default_factory=Counter)
    failures: int = 0
    moved_bytes: int = 0
    training: dict[int, frozenset[int]] = field(default_factory=dict)
    is_heard: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def next_segment(self, worker: int) -> int:
        """What tells an activation of a worker from its others in the round."""
        segment = self.segments[worker]
        self.segments[worker] += 1
        return segment

    @property
    def is_hopeless(self) -> bool:
        return not (self.answered or self.is_heard) and self.failures >= _MOST_FAILURES

    @property
    def updates(self) -> int:
        """How many count."""
        return len(self.answered)

    @property
    def answers(self) -> list[tuple[int, Answered]]:
        """Those who have answered, by client."""
        return sorted(self.answered.items())

    @property
    def weight(self) -> float:
        """Of all updates that count: the same sum in whatever order they have come."""
        return math.fsum(one.weight for one in self.answered.values())

    @property
    def samples(self) -> int:
        return sum(one.result.samples for one in self.answered.values())

    @property
    def train_loss(self) -> float:
        """A mean over the samples that were seen."""
        return math.fsum(one.result.loss_sum for one in self.answered.values()) / self.samples

    def drop(self, clients: Sequence[int], why: str) -> None:
        self.dropped |= dict.fromkeys(clients, why)

    def take_in(self, part: Cohort) -> None:
        """Have what has come of a part of the round, which then has only what is still to come.

        What is spent stays with the part, whose activations may still read and write it.
        """
        self.answered |= part.answered
        self.dropped |= part.dropped
        self.ended |= part.ended
        self.sum_keys += part.sum_keys
        self.moved_bytes += part.moved_bytes
        for client in (*part.answered, *part.dropped):
            part.turns.pop(client, None)
        part.is_heard |= bool(part.answered)
        part.answered, part.dropped, part.sum_keys, part.moved_bytes = {}, {}, [], 0
