"""Weighted sums of a round's changes, which a strategy wants beside their mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from disdel.protocol.messages import UNTRAINED
from disdel.runtimes.base import OPTIMIZER_PREFIX
from disdel.store.base import Store
from disdel.store.codec import Header, TensorInfo
from disdel.store.states import named_in
from disdel.worker.spans import spans
from disdel.worker.updates import Opened, UpdateSource, opened

_SPAN_BYTES = 1 << 20


def trained_tensors(header: Header) -> list[TensorInfo]:
    """The tensors that gradients train, of a state that tells which it does not."""
    untrained = named_in(header.metadata, UNTRAINED)
    return [
        tensor
        for tensor in header.tensors
        if tensor.dtype.kind == "f"
        and not tensor.name.startswith(OPTIMIZER_PREFIX)
        and tensor.name not in untrained
    ]


def named_header(names: Sequence[str], trained: Sequence[TensorInfo]) -> Header:
    """The header of a blob with each trained tensor under each name, as `c/model/kernel`."""
    infos, end = [], 0
    for name in names:
        for tensor in trained:
            start, end = end, end + tensor.stop - tensor.start
            infos.append(replace(tensor, name=f"{name}/{tensor.name}", start=start, stop=end))
    return Header(b"", tuple(infos), {})


def write_sums(
    store: Store, sources: Sequence[UpdateSource], before_key: str, sums_key: str
) -> None:
    """Write the sums of (update - before) that the updates have weights for, span by span."""
    store.put_stream(sums_key, _summed(sources, opened(store, before_key)))


def _summed(sources: Sequence[UpdateSource], before: Opened) -> Iterator[bytes]:
    trained = trained_tensors(sources[0].header)
    names = list(sources[0].update.sums)
    yield named_header(names, trained).with_metadata({})
    for name in names:
        for tensor in trained:
            for span in spans([tensor], _SPAN_BYTES):
                began = before.read(span).astype(np.float64)
                total = np.zeros(len(began))
                for source in sources:
                    change = np.subtract(source.look(span), began, dtype=np.float64)
                    total += source.update.sums[name] * change
                yield total.astype(span.dtype).tobytes()
