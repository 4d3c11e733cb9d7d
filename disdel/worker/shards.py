"""The samples an action works on, fetched once a container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from disdel.store.codec import read_tensors
from disdel.types.arrays import Array
from disdel.worker.context import Context

Use = Literal["train", "score"]


@dataclass(frozen=True, slots=True)
class Samples:
    """x: (samples, *input_shape), as stored; y: (samples, *target_shape), int32 or float32."""

    x: Array
    y: Array


class ShardCache:
    """The last shard that this container has trained on, and the last that it has scored.

    Most containers use the same ones every round. One whose worker trains several clients in turn
    reads theirs again, and never holds two, so that its memory is that of the largest. To keep more
    would save little: reading takes about 2 µs a sample of MNIST, a training step 100 and more, and
    where some clients sit out a round, the others change workers.
    """

    def __init__(self) -> None:
        self._held: dict[Use, tuple[str, Samples]] = {}

    def get(self, key: str, context: Context, use: Use) -> Samples:
        """The samples under `key`, waiting for the controller to finish writing them."""
        held_key, samples = self._held.get(use, (None, None))
        if samples is None or held_key != key:
            # Let go before the next one is read.
            samples = None
            self._held.pop(use, None)
            context.wait_for(key)
            tensors = read_tensors(context.store, key)
            samples = Samples(tensors["x"], tensors["y"])
            self._held[use] = key, samples
        return samples
