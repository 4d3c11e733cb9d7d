"""collectWeights: the updates of a round become their average. numpy only, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from disdel.errors import AggregationError
from disdel.protocol.messages import (
    UNTRAINED,
    CollectedUpdate,
    CollectReply,
    CollectRequest,
    Update,
)
from disdel.store.base import Blob, Store
from disdel.store.codec import Header, read_header
from disdel.strategies.aggregation import weighted_mean
from disdel.types.arrays import Array
from disdel.worker.advance import advance
from disdel.worker.context import Context
from disdel.worker.spans import SPAN_BYTES, Span, spans


def collect(request: CollectRequest, context: Context) -> CollectReply:
    """Make the next state of a round's updates and publish it; do nothing where there are none.

    Raises:
        AggregationError: an update is missing, is not what the request says, or the updates do not
            describe the same tensors.
    """
    averaged = None
    if request.updates:
        wanted = request.advance
        mean_key = request.state_key if wanted is None else wanted.mean_key
        averaged = average(context.store, request.updates, mean_key)
        if wanted is not None:
            advance(context.store, wanted, request.state_key)
    context.clock.ended("computed")
    return CollectReply(
        updates=averaged.updates if averaged else (),
        tensors=len(averaged.header.tensors) if averaged else 0,
        bytes=averaged.header.data_bytes if averaged else 0,
        peak_mb=context.peak_mb(),
        working_set_mb=context.working_set_mb(),
        phases=context.clock.phases(),
    )


@dataclass(frozen=True, slots=True)
class Averaged:
    """An average: the header of its blob, and exactly what went into it, by client."""

    header: Header
    updates: tuple[CollectedUpdate, ...]


def average(
    store: Store, updates: Sequence[Update], state_key: str, *, span_bytes: int = SPAN_BYTES
) -> Averaged:
    """Write the weighted mean of `updates` under `state_key`, block by block.

    Memory is a few blocks whatever the size of the model, and grows by one block an update. The
    result appears under its key only when it is complete.

    Raises:
        AggregationError: no updates, two of one client, one missing, one made of other samples than
            the request says, or updates that differ in names, shapes or dtypes.
    """
    clients = [update.client for update in updates]
    if len(set(clients)) != len(clients):
        raise AggregationError(f"a client has two updates in one round: {clients}")
    ordered = sorted(updates, key=lambda update: update.client)
    sources = [_open(store, update) for update in ordered]
    _check_alike(sources)
    store.put_stream(state_key, _averaged(sources, span_bytes))
    return Averaged(sources[0].header, tuple(source.collected() for source in sources))


@dataclass(frozen=True, slots=True)
class _Source:
    """An update that is being read; its checksum is that of what was read so far."""

    update: Update
    blob: Blob
    header: Header
    digest: _Digest

    def read(self, span: Span) -> Array:
        data = self.header.read_range(self.blob, span.start, span.stop)
        self.digest.update(data)
        return np.frombuffer(data, span.dtype)

    def collected(self) -> CollectedUpdate:
        return CollectedUpdate(
            client=self.update.client,
            worker=self.update.worker,
            attempt=self.update.attempt,
            samples=self.update.samples,
            checksum=self.digest.hexdigest(),
        )


class _Digest(Protocol):
    def update(self, data: bytearray, /) -> None: ...

    def hexdigest(self) -> str: ...


def _open(store: Store, update: Update) -> _Source:
    blob = store.open(update.key)
    if blob is None:
        raise AggregationError(
            f"the update of client {update.client} is missing ({update.key}), so the round has no "
            "average"
        )
    header = read_header(blob)
    made_of = header.metadata.get("samples")
    if made_of != str(update.samples):
        raise AggregationError(
            f"the update of client {update.client} is made of {made_of} samples, and "
            f"{update.samples} were reported"
        )
    return _Source(update, blob, header, hashlib.blake2b(digest_size=16))


def _check_alike(sources: Sequence[_Source]) -> None:
    if not sources:
        raise AggregationError("a round without updates has no average")
    first = sources[0]
    for source in sources[1:]:
        if source.header.tensors != first.header.tensors:
            odd = _first_difference(first.header, source.header)
            raise AggregationError(
                f"clients {first.update.client} and {source.update.client} trained different "
                f"networks: {odd}"
            )


def _first_difference(left: Header, right: Header) -> str:
    for a, b in zip(left.tensors, right.tensors, strict=False):
        if a != b:
            return f"{a.name} {a.dtype}{list(a.shape)} against {b.name} {b.dtype}{list(b.shape)}"
    return f"{len(left.tensors)} tensors against {len(right.tensors)}"


def _averaged(sources: Sequence[_Source], span_bytes: int) -> Iterator[bytes]:
    header = sources[0].header
    weights = [source.update.weight for source in sources]
    samples = sum(source.update.samples for source in sources)
    told = {name: header.metadata[name] for name in (UNTRAINED,) if name in header.metadata}
    yield header.with_metadata({"samples": str(samples), **told})
    for span in spans(header.tensors, span_bytes):
        yield weighted_mean([source.read(span) for source in sources], weights).tobytes()
