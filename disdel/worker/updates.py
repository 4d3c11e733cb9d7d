"""The updates of a round in the store, read span by span."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from disdel.errors import AggregationError
from disdel.protocol.messages import CollectedUpdate, Update
from disdel.store.base import Blob, Store
from disdel.store.codec import Header, read_header
from disdel.store.states import passed_on
from disdel.types.arrays import Array
from disdel.worker.spans import Span


class _Digest(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A blob that is being read."""

    blob: Blob
    header: Header

    def read(self, span: Span) -> Array:
        """The elements of a span, (n,) of its dtype."""
        return np.frombuffer(self.header.read_range(self.blob, span.start, span.stop), span.dtype)


def opened(store: Store, key: str) -> Opened:
    """The blob `key`; raises `StoreError` where there is none."""
    blob = store.existing(key)
    return Opened(blob, read_header(blob))


@dataclass(frozen=True, slots=True)
class UpdateSource:
    """An update that is being read; its checksum is that of what was averaged so far.

    `counted` is what it counts where the strategy looks at each update.
    """

    update: Update
    opened: Opened
    digest: _Digest
    counted: float | None = None

    @property
    def header(self) -> Header:
        return self.opened.header

    def look(self, span: Span) -> Array:
        """The elements of a span, (n,), which are not averaged yet."""
        return self.opened.read(span)

    def read(self, span: Span) -> Array:
        """The elements of a span, (n,), each of which is to be read once, in their order."""
        elements = self.opened.read(span)
        self.digest.update(elements.data)
        return elements

    def tensor_at(self, offset: int) -> str:
        """The name of the tensor that a byte of the data section is of."""
        return next(t.name for t in self.header.tensors if t.start <= offset < t.stop)

    def collected(self) -> CollectedUpdate:
        """What the ledger says of it."""
        return CollectedUpdate(
            client=self.update.client,
            worker=self.update.worker,
            attempt=self.update.attempt,
            samples=self.update.samples,
            checksum=self.digest.hexdigest(),
            weight=self.counted,
        )


def state_head(header: Header, samples: int) -> bytes:
    """The head of a state like an update of this header, which is made of so many samples."""
    return header.with_metadata({"samples": str(samples), **passed_on(header, ())})


def open_updates(store: Store, updates: Sequence[Update]) -> list[UpdateSource]:
    """The updates of a round, ordered by client.

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
    return sources


def _open(store: Store, update: Update) -> UpdateSource:
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
    return UpdateSource(update, Opened(blob, header), hashlib.blake2b(digest_size=16))


def _check_alike(sources: Sequence[UpdateSource]) -> None:
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
