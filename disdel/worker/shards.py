"""The samples an action works on, fetched once a container."""

from __future__ import annotations

from dataclasses import dataclass

from disdel.store.codec import read_tensors
from disdel.types.arrays import Array
from disdel.worker.context import Context


@dataclass(frozen=True, slots=True)
class Samples:
    """x: (samples, *input_shape), as stored; y: (samples,) int32 labels."""

    x: Array
    y: Array


class ShardCache:
    """The last few shards of this container: it trains and scores the same ones every round."""

    def __init__(self, keep: int = 2) -> None:
        self._keep = keep
        self._held: dict[str, Samples] = {}

    def get(self, key: str, context: Context) -> Samples:
        """The samples under `key`, waiting for the controller to finish writing them."""
        samples = self._held.pop(key, None)
        if samples is None:
            while len(self._held) >= self._keep:
                del self._held[next(iter(self._held))]
            context.wait_for(key)
            tensors = read_tensors(context.store, key)
            samples = Samples(tensors["x"], tensors["y"])
        self._held[key] = samples
        return samples
