"""The next state by a strategy of its own: numpy only, in constant memory.

The mean of a round's updates lies in the store. It, the state that the round began with, and what
the server keeps are read span by span: once if anything is kept, and once for the state. A strategy
computes in float64, and its results are rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import numpy as np

from disdel.errors import AggregationError, TrainingDiverged
from disdel.protocol.messages import Advance
from disdel.store.base import Store
from disdel.store.states import passed_on
from disdel.strategies.base import Advanced, Block, Strategy
from disdel.strategies.registry import strategy_named
from disdel.types.arrays import Numbers
from disdel.worker.spans import Span, spans
from disdel.worker.sums import named_header, trained_tensors
from disdel.worker.updates import Opened, opened

# In float64 each block takes twice as much.
_SPAN_BYTES = 512 << 10


def advance(
    store: Store, request: Advance, state_key: str, *, span_bytes: int = _SPAN_BYTES
) -> None:
    """Write the next state under `state_key`, after what the server keeps of it.

    Memory is a few spans whatever the size of the model. Each result appears under its key only
    when it is complete.

    Raises:
        AggregationError: the mean is of another network than the state before, or the strategy
            gives other elements than it was given.
        StoreError: a state is not there.
        UsageError: there is no such strategy.
    """
    strategy = strategy_named(request.strategy, request.parameters)
    mean, before = opened(store, request.mean_key), opened(store, request.before_key)
    if mean.header.tensors != before.header.tensors:
        raise AggregationError("the updates of a round are of another network than its state")
    walk = _Walk(
        strategy,
        mean,
        before,
        _Named.open(store, request.kept_key, list(strategy.kept)),
        _Named.open(store, request.sums_key, request.sums),
        request.numbers,
        span_bytes,
    )
    if strategy.kept:
        store.put_stream(request.new_kept_key, walk.kept_blob())
    store.put_stream(state_key, walk.state_blob())


@dataclass(frozen=True, slots=True)
class _Named:
    """A blob that has, name by name, a tensor for every trained one of a state, in their order.

    An element is as far behind its name's first one as its weight is behind the first trained one,
    counted without what lies between them.
    """

    blob: Opened
    names: Sequence[str]

    @classmethod
    def open(cls, store: Store, key: str | None, names: Sequence[str]) -> _Named | None:
        return None if key is None else cls(opened(store, key), names)

    def read(self, span: Span, position: int) -> dict[str, Numbers]:
        """The elements of each name for those of a span at a position among the trained ones."""
        size = self.blob.header.data_bytes // len(self.names)
        length = span.stop - span.start
        starts = [index * size + position for index in range(len(self.names))]
        return {
            name: self.blob.read(Span(span.dtype, start, start + length)).astype(np.float64)
            for name, start in zip(self.names, starts, strict=True)
        }


@dataclass(frozen=True, slots=True)
class _Walk:
    """Goes through the elements of a state."""

    strategy: Strategy
    mean: Opened
    before: Opened
    kept: _Named | None
    sums: _Named | None
    numbers: Mapping[str, float]
    span_bytes: int

    def state_blob(self) -> Iterator[bytes]:
        header = self.mean.header
        told = {"samples": header.metadata.get("samples", ""), **passed_on(header, ())}
        yield header.with_metadata(told)
        position = 0
        for is_trained, span in self._spans():
            if is_trained:
                yield self._advanced(span, position).next.astype(span.dtype).tobytes()
                position += span.stop - span.start
            else:
                yield self.mean.read(span).tobytes()

    def kept_blob(self) -> Iterator[bytes]:
        names = list(self.strategy.kept)
        yield named_header(names, trained_tensors(self.mean.header)).with_metadata({})
        for name in names:
            position = 0
            for is_trained, span in self._spans():
                if is_trained:
                    advanced = self._advanced(span, position)
                    yield advanced.kept[name].astype(span.dtype).tobytes()
                    position += span.stop - span.start

    def _spans(self) -> Iterator[tuple[bool, Span]]:
        trained = {tensor.name for tensor in trained_tensors(self.mean.header)}
        runs = groupby(self.mean.header.tensors, lambda tensor: tensor.name in trained)
        return chain.from_iterable(
            ((is_trained, span) for span in spans(list(run), self.span_bytes))
            for is_trained, run in runs
        )

    def _advanced(self, span: Span, position: int) -> Advanced:
        block = Block(
            before=self.before.read(span).astype(np.float64),
            mean=self.mean.read(span).astype(np.float64),
            kept=self._kept(span, position),
            sums={} if self.sums is None else self.sums.read(span, position),
            numbers=self.numbers,
        )
        advanced = self.strategy.advance(block)
        _check_keeps(self.strategy, advanced.kept)
        for given in (advanced.next, *(advanced.kept[name] for name in self.strategy.kept)):
            if (given.shape, given.dtype) != (block.mean.shape, block.mean.dtype):
                raise AggregationError(
                    f"strategy {self.strategy.name} made {given.dtype}{list(given.shape)} of "
                    f"{block.mean.dtype}{list(block.mean.shape)}"
                )
        if not np.isfinite(advanced.next).all() and np.isfinite(block.mean).all():
            raise TrainingDiverged(
                f"strategy {self.strategy.name} made weights that are no numbers of a mean that is"
            )
        return advanced

    def _kept(self, span: Span, position: int) -> Mapping[str, Numbers]:
        if self.kept is not None:
            return self.kept.read(span, position)
        elements = (span.stop - span.start) // span.dtype.itemsize
        return {name: np.full(elements, self.strategy.first(name)) for name in self.strategy.kept}


def _check_keeps(strategy: Strategy, kept: Mapping[str, Numbers]) -> None:
    if missing := strategy.kept.keys() - kept:
        raise AggregationError(
            f"strategy {strategy.name} keeps {', '.join(sorted(missing))}, which it has not made"
        )
