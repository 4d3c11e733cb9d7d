"""collectWeights: the parts of a round become their average. numpy only, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from disdel.errors import AggregationError
from disdel.store.base import Blob, Store
from disdel.store.codec import Header, TensorInfo, read_header
from disdel.training.aggregate import weighted_mean
from disdel.wire import CollectReply, CollectRequest, Part
from disdel.worker.context import Context

BLOCK_BYTES = 2 << 20


def collect(request: CollectRequest, context: Context) -> CollectReply:
    """Average the parts of a round and publish the result.

    Raises:
        AggregationError: a part is missing, or the parts do not describe the same tensors.
    """
    header = average(context.store, request.parts, request.state_key)
    return CollectReply(
        samples=sum(part.samples for part in request.parts),
        tensors=len(header.tensors),
        bytes=header.data_bytes,
        peak_mb=context.peak_mb(),
    )


def average(
    store: Store, parts: Sequence[Part], state_key: str, *, block_bytes: int = BLOCK_BYTES
) -> Header:
    """Write the sample-weighted mean of `parts` under `state_key`, block by block.

    Memory is a few blocks whatever the size of the model, and grows by one block a part. The
    result appears under its key only when it is complete. Returns its header.

    Raises:
        AggregationError: no parts, two of one worker, one missing, or parts that differ in names,
            shapes or dtypes.
    """
    workers = [part.worker for part in parts]
    if len(set(workers)) != len(workers):
        raise AggregationError(f"a worker has two parts in one round: {workers}")
    ordered = sorted(parts, key=lambda part: part.worker)
    blobs = [_opened(store, part) for part in ordered]
    header = _common_header(ordered, blobs)
    weights = [part.samples for part in ordered]
    store.put_stream(state_key, _averaged(blobs, weights, header, block_bytes))
    return header


def _opened(store: Store, part: Part) -> Blob:
    blob = store.open(part.key)
    if blob is None:
        raise AggregationError(
            f"the part of worker {part.worker} is missing ({part.key}), so the round has no average"
        )
    return blob


def _common_header(parts: Sequence[Part], blobs: Sequence[Blob]) -> Header:
    if not blobs:
        raise AggregationError("a round without parts has no average")
    headers = [read_header(blob) for blob in blobs]
    for part, header in zip(parts, headers, strict=True):
        if header.tensors != headers[0].tensors:
            odd = _first_difference(headers[0], header)
            raise AggregationError(
                f"workers {parts[0].worker} and {part.worker} trained different networks: {odd}"
            )
    return headers[0]


def _first_difference(left: Header, right: Header) -> str:
    for a, b in zip(left.tensors, right.tensors, strict=False):
        if a != b:
            return f"{a.name} {a.dtype}{list(a.shape)} against {b.name} {b.dtype}{list(b.shape)}"
    return f"{len(left.tensors)} tensors against {len(right.tensors)}"


def _averaged(
    blobs: Sequence[Blob], weights: Sequence[int], header: Header, block_bytes: int
) -> Iterator[bytes]:
    yield header.raw
    for block in blocks(header.tensors, block_bytes):
        arrays = []
        for blob in blobs:
            data = bytearray(block.stop - block.start)
            blob.read_into(memoryview(data), len(header.raw) + block.start)
            arrays.append(np.frombuffer(data, block.dtype))
        yield weighted_mean(arrays, weights).tobytes()


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes `start` to `stop` of the data section, all of one dtype."""

    dtype: np.dtype[np.generic]
    start: int
    stop: int


def blocks(tensors: Sequence[TensorInfo], block_bytes: int) -> Iterator[Block]:
    """The data section as blocks: neighbours of one dtype together, none above `block_bytes`.

    Many small tensors become one read, and one large tensor several.
    """
    index = 0
    while index < len(tensors):
        dtype, start, stop = tensors[index].dtype, tensors[index].start, tensors[index].stop
        index += 1
        while index < len(tensors) and tensors[index].dtype == dtype:
            stop = tensors[index].stop
            index += 1
        stride = max(1, block_bytes // dtype.itemsize) * dtype.itemsize
        for first in range(start, stop, stride):
            yield Block(dtype, first, min(stop, first + stride))
