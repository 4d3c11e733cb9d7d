"""The next state by a strategy that sees each update: numpy only, in constant memory.

The updates are read twice: at first to leave out who has sent what is no number, and to measure how
the others lie if the strategy asks for it; then to combine them. The more updates, the shorter the
spans that are read of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from disdel.errors import AggregationError, TrainingDiverged
from disdel.protocol.messages import Update
from disdel.runtimes.base import OPTIMIZER_PREFIX
from disdel.store.base import Store
from disdel.store.codec import Header
from disdel.strategies.base import Geometry, Strategy
from disdel.types.arrays import Array, Numbers
from disdel.worker.spans import Span, spans
from disdel.worker.updates import Opened, UpdateSource, open_updates, opened, state_head

# Of the changes of all updates together, in float64.
_BLOCK_BYTES = 8 << 20


def combine(
    store: Store,
    strategy: Strategy,
    updates: Sequence[Update],
    *,
    before_key: str,
    state_key: str,
    block_bytes: int = _BLOCK_BYTES,
) -> tuple[list[UpdateSource], dict[int, str]]:
    """Write what `strategy` makes of `updates` under `state_key`, block by block.

    Counters and flags are the middle ones, in order, of those of the updates.

    Returns:
        The updates that went in, and why others did not, by client.

    Raises:
        AggregationError: as `open_updates`, or the state before is of another network.
        StrategyFailed: the strategy cannot combine so many updates.
        TrainingDiverged: no update has numbers alone.
    """
    sources, before = open_updates(store, updates), opened(store, before_key)
    if before.header.tensors != sources[0].header.tensors:
        raise AggregationError("the updates of a round are of another network than its state")
    looked = _Look(sources, before, block_bytes)
    left_out, geometry = looked.at_all(measures=strategy.measures)
    kept = [source for source in sources if source.update.client not in left_out]
    if not kept:
        raise TrainingDiverged(
            f"no client of the round has sent numbers alone; client {sources[0].update.client}: "
            f"{left_out[sources[0].update.client]}"
        )
    strategy.check_updates(len(kept))
    weights = np.array([source.update.weight for source in kept], np.float64)
    counted = strategy.counted(weights, geometry)
    if counted.shape != weights.shape:
        raise AggregationError(
            f"strategy {strategy.name} counted {list(counted.shape)} updates of {len(weights)}"
        )
    kept = [replace(one, counted=float(count)) for one, count in zip(kept, counted, strict=True)]
    store.put_stream(state_key, _combined(kept, before, strategy, geometry, block_bytes))
    return kept, left_out


class _Look:
    """The first reading of the updates."""

    def __init__(self, sources: Sequence[UpdateSource], before: Opened, block_bytes: int) -> None:
        self._sources = sources
        self._before = before
        self._span_bytes = span_bytes(len(sources), block_bytes)

    def at_all(self, *, measures: bool) -> tuple[dict[int, str], Geometry | None]:
        """Who has sent what is no number, with the first one, and how the others lie."""
        left_out: dict[int, str] = {}
        count = len(self._sources)
        squared = np.zeros((count, count))
        lengths = np.zeros(count)
        for is_model, span in _float_spans(self._before.header, self._span_bytes):
            changes, broken = _changes([s.look(span) for s in self._sources], self._before, span)
            for index in map(int, np.flatnonzero(broken.any(axis=1))):
                source = self._sources[index]
                element = int(np.argmax(broken[index]))
                name = source.tensor_at(span.start + element * span.dtype.itemsize)
                left_out.setdefault(source.update.client, f"what is no number in {name}")
            if measures and is_model:
                # What is left out may overflow.
                changes[[s.update.client in left_out for s in self._sources]] = 0
                _measure(changes, lengths, squared)
        if not measures:
            return left_out, None
        kept = [i for i, s in enumerate(self._sources) if s.update.client not in left_out]
        return left_out, Geometry(np.sqrt(lengths[kept]), squared[np.ix_(kept, kept)])


def _measure(changes: Numbers, lengths: Numbers, squared: Numbers) -> None:
    """Add a block to the squared lengths and distances of all updates."""
    lengths += np.einsum("un,un->u", changes, changes)
    for index, change in enumerate(changes):
        apart = changes[index + 1 :] - change
        sums = np.einsum("un,un->u", apart, apart)
        squared[index, index + 1 :] += sums
        squared[index + 1 :, index] += sums


def span_bytes(updates: int, block_bytes: int = _BLOCK_BYTES) -> int:
    """The bytes that are read of each of so many updates at once."""
    return max(8, block_bytes // updates // 2)


def _float_spans(header: Header, most_bytes: int) -> Iterator[tuple[bool, Span]]:
    """The spans of numbers, and whether they are of the model and not of an optimizer."""
    for tensor in header.tensors:
        if tensor.dtype.kind == "f":
            is_model = not tensor.name.startswith(OPTIMIZER_PREFIX)
            yield from ((is_model, span) for span in spans([tensor], most_bytes))


def _changes(
    blocks: Sequence[Array], before: Opened, span: Span
) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """What each update changes, (updates, n), and where it is no number though it was one before.

    What was none before, as in masks of attention, does not change.
    """
    began = before.read(span).astype(np.float64)
    numbers = np.isfinite(began)
    changes = np.empty((len(blocks), len(began)))
    for row, block in zip(changes, blocks, strict=True):
        np.subtract(block, began, out=row, where=numbers, dtype=np.float64)
    changes[:, ~numbers] = 0
    return changes, ~np.isfinite(changes)


def _combined(
    sources: Sequence[UpdateSource],
    before: Opened,
    strategy: Strategy,
    geometry: Geometry | None,
    block_bytes: int,
) -> Iterator[bytes]:
    header = sources[0].header
    samples = sum(source.update.samples for source in sources)
    yield state_head(header, samples)
    weights = np.array([source.update.weight for source in sources], np.float64)
    for span in spans(header.tensors, span_bytes(len(sources), block_bytes)):
        blocks = [source.read(span) for source in sources]
        if span.dtype.kind != "f":
            yield np.sort(blocks, axis=0)[(len(blocks) - 1) // 2].tobytes()
            continue
        changes, _ = _changes(blocks, before, span)
        del blocks
        change = strategy.combine(changes, weights, geometry)
        if change.shape != changes.shape[1:]:
            raise AggregationError(
                f"strategy {strategy.name} combined changes of {changes.shape[1]} elements to "
                f"{list(change.shape)}"
            )
        if not np.isfinite(change).all():
            raise TrainingDiverged(
                f"strategy {strategy.name} made of changes that are numbers what is none"
            )
        yield np.add(before.read(span), change, dtype=np.float64).astype(span.dtype).tobytes()
