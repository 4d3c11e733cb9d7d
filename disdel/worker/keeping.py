"""What a client keeps by its strategy from one of its rounds to the next, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from disdel.errors import AggregationError
from disdel.protocol.messages import ClientKeeps
from disdel.store.base import Store
from disdel.store.codec import TensorInfo
from disdel.strategies.base import ClientBlock, Strategy
from disdel.strategies.registry import strategy_named
from disdel.types.arrays import Numbers, Tensors
from disdel.worker.spans import Span, spans
from disdel.worker.sums import named_header
from disdel.worker.updates import Opened, opened

_SPAN_BYTES = 512 << 10


def store_kept(store: Store, request: ClientKeeps, after: Tensors, trained: Sequence[str]) -> None:
    """Write what a client keeps of a round that has come to the state `after`.

    Args:
        store: has the states.
        request: which they are, and whose strategy.
        after: the client's state.
        trained: the names of its tensors that gradients train.

    Raises:
        StoreError: a state is not there.
        UsageError: there is no such strategy.
    """
    strategy = strategy_named(request.strategy, request.parameters)
    walk = _Walk(
        strategy,
        opened(store, request.before_key),
        _opened_if(store, request.kept_key),
        _opened_if(store, request.own_key),
        after,
        frozenset(trained),
        request.rate_sum,
    )
    store.put_stream(request.new_own_key, walk.blob())


def _opened_if(store: Store, key: str | None) -> dict[str, tuple[Opened, TensorInfo]]:
    """The tensors of a blob by name; none where there is no blob."""
    if key is None:
        return {}
    blob = opened(store, key)
    return {tensor.name: (blob, tensor) for tensor in blob.header.tensors}


@dataclass(frozen=True, slots=True)
class _Walk:
    strategy: Strategy
    before: Opened
    kept: Mapping[str, tuple[Opened, TensorInfo]]
    own: Mapping[str, tuple[Opened, TensorInfo]]
    after: Tensors
    trained: frozenset[str]
    rate_sum: float

    def blob(self) -> Iterator[bytes]:
        tensors = [t for t in self.before.header.tensors if t.name in self.trained]
        names = list(self.strategy.own)
        yield named_header(names, tensors).with_metadata({})
        for name in names:
            for tensor in tensors:
                for span in spans([tensor], _SPAN_BYTES):
                    kept = self.strategy.client_keeps(self._block(tensor, span))
                    if name not in kept:
                        raise AggregationError(
                            f"strategy {self.strategy.name} keeps {name} of clients, which it has "
                            "not made"
                        )
                    found = kept[name]
                    if found.shape != ((span.stop - span.start) // span.dtype.itemsize,):
                        raise AggregationError(
                            f"strategy {self.strategy.name} keeps {list(found.shape)} elements of "
                            f"{tensor.name}"
                        )
                    yield found.astype(span.dtype).tobytes()

    def _block(self, tensor: TensorInfo, span: Span) -> ClientBlock:
        size = span.dtype.itemsize
        first, last = (span.start - tensor.start) // size, (span.stop - tensor.start) // size
        after = self.after[tensor.name].reshape(-1)[first:last]
        strategy = self.strategy
        firsts = {name: strategy.first(name) for name in strategy.kept}
        return ClientBlock(
            before=self.before.read(span).astype(np.float64),
            after=after.astype(np.float64),
            kept=_read(self.kept, firsts, tensor, span),
            own=_read(self.own, strategy.own, tensor, span),
            rate_sum=self.rate_sum,
        )


def _read(
    blob: Mapping[str, tuple[Opened, TensorInfo]],
    firsts: Mapping[str, float],
    tensor: TensorInfo,
    span: Span,
) -> dict[str, Numbers]:
    """The elements of each name for those of a span; without a blob, their first values."""
    found = {}
    for name, first in firsts.items():
        if not blob:
            count = (span.stop - span.start) // span.dtype.itemsize
            found[name] = np.full(count, first)
            continue
        place, info = blob[f"{name}/{tensor.name}"]
        moved = info.start - tensor.start
        at = Span(span.dtype, span.start + moved, span.stop + moved)
        found[name] = place.read(at).astype(np.float64)
    return found
