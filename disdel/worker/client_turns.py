"""What a container's clients begin a turn with: the round's state, samples, learning rates."""

from __future__ import annotations

import numpy as np

from disdel.protocol.client_messages import ClientTurn
from disdel.protocol.messages import FROZEN
from disdel.runtimes.rates import Factors
from disdel.runtimes.schedule import Schedule
from disdel.store.codec import read_described
from disdel.store.states import named_in
from disdel.types.arrays import Array, Tensors
from disdel.worker.context import Context
from disdel.worker.shards import Samples

# Tells this use of the seed from others.
_USES = 0x75736573


class RoundState:
    """The state of the last round that this container has trained in.

    Attributes:
        read_bytes: of all states that were read.
        frozen: the tensors of the state that no update may change.
    """

    def __init__(self) -> None:
        self._held: tuple[str, dict[str, Array]] | None = None
        self.read_bytes = 0
        self.frozen: frozenset[str] = frozenset()

    def get(self, key: str, context: Context) -> dict[str, Array]:
        """The state under `key`, tensors of any shape; nobody writes into them."""
        if self._held is None or self._held[0] != key:
            # Let go before the next one is read.
            self._held = None
            tensors, metadata = read_described(context.store, key)
            self._held = key, tensors
            self.frozen = named_in(metadata, FROZEN)
            self.read_bytes += bytes_of(tensors)
        return self._held[1]


def schedule_of(turn: ClientTurn, samples: int, seed: int) -> Schedule:
    """A client's order of its samples, of which it has so many and perhaps uses fewer."""
    used = samples if turn.uses is None else min(turn.uses, samples)
    return Schedule(used, turn.batch_size, seed, turn.client)


def used_by(turn: ClientTurn, samples: Samples, seed: int) -> Samples:
    """Those that a client trains on: with fewer, some of them, whatever their order says."""
    if turn.uses is None or turn.uses >= len(samples.x):
        return samples
    drawn = np.random.default_rng((seed, turn.client, _USES)).permutation(len(samples.x))
    chosen = np.sort(drawn[: turn.uses])
    return Samples(samples.x[chosen], samples.y[chosen])


def most_bytes(turn: ClientTurn, alike: Samples) -> int:
    """What a client's samples take at most, by its steps, in bytes."""
    steps = turn.stop_step - turn.start_step
    return steps * turn.batch_size * (alike.x.nbytes + alike.y.nbytes) // max(1, len(alike.x))


def bytes_of(tensors: Tensors) -> int:
    """What tensors take, in bytes."""
    return sum(tensor.nbytes for tensor in tensors.values())


def constant_factors(turn: ClientTurn, start: int, stop: int) -> Factors:
    """Those of a turn's steps, (steps,): its learning rate is the same at all of them."""
    return np.full(stop - start, turn.rate_factor, np.float32)
