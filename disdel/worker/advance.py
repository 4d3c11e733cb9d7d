"""The next state by a strategy of its own: numpy only, in constant memory.

The mean of a round's updates lies in the store. It, the state that the round began with, and what
the server keeps are read span by span: once if anything is kept, and once for the state.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, groupby

import numpy as np

from disdel.errors import AggregationError
from disdel.protocol.messages import UNTRAINED, Advance
from disdel.runtimes.base import OPTIMIZER_PREFIX
from disdel.store.base import Blob, Store
from disdel.store.codec import Header, TensorInfo, read_header
from disdel.strategies.base import Advanced, Block, Strategy
from disdel.strategies.registry import strategy_named
from disdel.types.arrays import Array
from disdel.worker.spans import SPAN_BYTES, Span, spans


def advance(
    store: Store, request: Advance, state_key: str, *, span_bytes: int = SPAN_BYTES
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
    mean, before = _opened(store, request.mean_key), _opened(store, request.before_key)
    if mean.header.tensors != before.header.tensors:
        raise AggregationError("the updates of a round are of another network than its state")
    kept = None if request.kept_key is None else _opened(store, request.kept_key)
    walk = _Walk(strategy, mean, before, kept, span_bytes)
    if strategy.kept:
        store.put_stream(request.new_kept_key, walk.kept_blob())
    store.put_stream(state_key, walk.state_blob())


@dataclass(frozen=True, slots=True)
class _Opened:
    """A blob that is being read."""

    blob: Blob
    header: Header

    def read(self, span: Span) -> Array:
        return np.frombuffer(self.header.read_range(self.blob, span.start, span.stop), span.dtype)


def _opened(store: Store, key: str) -> _Opened:
    blob = store.existing(key)
    return _Opened(blob, read_header(blob))


@dataclass(frozen=True, slots=True)
class _Walk:
    """Goes through the elements of a state.

    What is kept lies name by name, each with a tensor for every trained one of the state, in their
    order: an element of it is as far behind its name's first one as its weight is behind the first
    trained one, counted without what lies between them.
    """

    strategy: Strategy
    mean: _Opened
    before: _Opened
    kept: _Opened | None
    span_bytes: int

    def state_blob(self) -> Iterator[bytes]:
        header = self.mean.header
        yield header.with_metadata({"samples": header.metadata.get("samples", "")})
        position = 0
        for is_trained, span in self._spans():
            if is_trained:
                yield self._advanced(span, position).next.tobytes()
                position += span.stop - span.start
            else:
                yield self.mean.read(span).tobytes()

    def kept_blob(self) -> Iterator[bytes]:
        trained = [tensor for tensor in self.mean.header.tensors if self._is_trained(tensor)]
        infos, end = [], 0
        for name in self.strategy.kept:
            for tensor in trained:
                start, end = end, end + tensor.stop - tensor.start
                infos.append(replace(tensor, name=f"{name}/{tensor.name}", start=start, stop=end))
        yield Header(b"", tuple(infos), {}).with_metadata({})
        for name in self.strategy.kept:
            position = 0
            for is_trained, span in self._spans():
                if is_trained:
                    yield self._advanced(span, position).kept[name].tobytes()
                    position += span.stop - span.start

    def _spans(self) -> Iterator[tuple[bool, Span]]:
        runs = groupby(self.mean.header.tensors, self._is_trained)
        return chain.from_iterable(
            ((is_trained, span) for span in spans(list(run), self.span_bytes))
            for is_trained, run in runs
        )

    def _is_trained(self, tensor: TensorInfo) -> bool:
        untrained = json.loads(self.mean.header.metadata.get(UNTRAINED, "[]"))
        is_model = not tensor.name.startswith(OPTIMIZER_PREFIX)
        return is_model and tensor.dtype.kind == "f" and tensor.name not in untrained

    def _advanced(self, span: Span, position: int) -> Advanced:
        block = Block(self.before.read(span), self.mean.read(span), self._kept(span, position))
        advanced = self.strategy.advance(block)
        for given in (advanced.next, *(advanced.kept[name] for name in self.strategy.kept)):
            if (given.shape, given.dtype) != (block.mean.shape, block.mean.dtype):
                raise AggregationError(
                    f"strategy {self.strategy.name} made {given.dtype}{list(given.shape)} of "
                    f"{block.mean.dtype}{list(block.mean.shape)}"
                )
        return advanced

    def _kept(self, span: Span, position: int) -> Mapping[str, Array]:
        length = span.stop - span.start
        if self.kept is None:
            elements = length // span.dtype.itemsize
            return {
                name: np.full(elements, first, span.dtype)
                for name, first in self.strategy.kept.items()
            }
        size = self.kept.header.data_bytes // len(self.strategy.kept)
        return {
            name: self.kept.read(
                Span(span.dtype, index * size + position, index * size + position + length)
            )
            for index, name in enumerate(self.strategy.kept)
        }
