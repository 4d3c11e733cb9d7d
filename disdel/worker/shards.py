"""The samples an action works on, fetched once a container."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Literal

from disdel.store.codec import read_tensors, tensors_of
from disdel.types.arrays import Array, Tensors
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
    reads theirs again, and never holds two, so that its memory is that of the largest, but for
    small ones that are read ahead of their turns, many at once. To keep more would save little:
    reading takes about 2 µs a sample of MNIST, a training step 100 and more, and where some clients
    sit out a round, the others change workers.
    """

    def __init__(self) -> None:
        self._held: dict[Use, tuple[str, Samples]] = {}
        # By their keys, each in what is read with it; popped when it is used.
        self._ahead: dict[str, Future[dict[str, Samples]]] = {}
        self._reader: ThreadPoolExecutor | None = None

    def get(self, key: str, context: Context, use: Use) -> Samples:
        """The samples under `key`, waiting for the controller to finish writing them."""
        held_key, samples = self._held.get(use, (None, None))
        if samples is None or held_key != key:
            # Let go before the next one is read.
            samples = None
            self._held.pop(use, None)
            samples = self._read_before(key)
            if samples is None:
                context.wait_for(key)
                samples = _samples(read_tensors(context.store, key))
            self._held[use] = key, samples
        return samples

    def is_ahead(self, key: str | None) -> bool:
        """Whether a shard is being read ahead, or was."""
        return key in self._ahead

    def read_ahead(
        self, keys: Sequence[str], context: Context, prepare: Callable[[str, Samples], None]
    ) -> None:
        """Begin to read what `get` will be asked for next, beside what the container computes.

        Args:
            keys: what is read together.
            context: the activation's.
            prepare: is told of each in the thread that has read it.
        """
        self._reader = self._reader or ThreadPoolExecutor(1, "samples")

        def read() -> dict[str, Samples]:
            # Who waits for what is still to be written is `get`.
            blobs = zip(keys, context.store.get_each(keys), strict=True)
            found = {k: _samples(tensors_of(k, data)) for k, data in blobs if data is not None}
            for key, samples in found.items():
                prepare(key, samples)
            return found

        self._ahead |= dict.fromkeys(keys, self._reader.submit(read))

    def settle(self) -> None:
        """Return when nothing is read any more, so that the store may be closed."""
        wait(self._ahead.values())
        self._ahead.clear()

    def _read_before(self, key: str) -> Samples | None:
        """What was read ahead, if it is that."""
        future = self._ahead.pop(key, None)
        return None if future is None else future.result().pop(key, None)


def _samples(tensors: Tensors) -> Samples:
    return Samples(tensors["x"], tensors["y"])
