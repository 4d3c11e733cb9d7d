"""Tensors as safetensors, whole or by range.

The layout is safetensors' own (8 bytes of little-endian header length, a JSON header, the data;
https://huggingface.co/docs/safetensors): files made here open in any safetensors reader. The
library makes and reads whole blobs and copies them on the way; in an action's memory they are
written tensor by tensor and read by ranges.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from disdel.errors import StoreError
from disdel.store.base import Blob, Buffer, Store
from disdel.types.arrays import Array, Tensors

FORMAT_VERSION = "1"
_LENGTH_BYTES = 8
_BLOCK_BYTES = 1 << 20

# safetensors' names; bfloat16 and the 8-bit floats have no numpy type and are refused.
_DTYPES: dict[str, np.dtype[np.generic]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}

_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a blob: dtype, shape, and where its bytes stand in the data section."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a blob. `raw` is its bytes as they stand, length field included."""

    raw: bytes
    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]

    def read_range(self, blob: Blob, start: int, stop: int) -> bytearray:
        """Bytes `start` to `stop` of the data section of `blob`, which has this header."""
        data = bytearray(stop - start)
        blob.read_into(memoryview(data), len(self.raw) + start)
        return data

    def with_metadata(self, metadata: Mapping[str, str]) -> bytes:
        """The bytes of a header for the same tensors with this metadata instead."""
        fields: dict[str, object] = {"__metadata__": {"format": FORMAT_VERSION, **metadata}}
        for tensor in self.tensors:
            fields[tensor.name] = {
                "dtype": _NAMES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [tensor.start, tensor.stop],
            }
        text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
        # Padded, as the library does, so that the data is aligned.
        text += b" " * (-len(text) % _LENGTH_BYTES)
        return len(text).to_bytes(_LENGTH_BYTES, "little") + text

    @property
    def data_bytes(self) -> int:
        return max((tensor.stop for tensor in self.tensors), default=0)


def encode(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    """A blob of `tensors` (any numpy shape, 0-d and empty included)."""
    return b"".join(encoded(tensors, metadata))


def encoded(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Iterator[Buffer]:
    """The blob of `tensors` for `Store.put_stream`, tensor by tensor and without a copy.

    Raises:
        StoreError: a dtype that safetensors or numpy lacks.
    """
    ordered = _widest_first(tensors)
    yield _head(ordered, [tensor.shape for _, tensor in ordered], metadata or {})
    for _, tensor in ordered:
        # np.ascontiguousarray would make a 0-d array 1-d.
        yield np.require(tensor, requirements="C").reshape(-1).view(np.uint8).data


def _widest_first(tensors: Tensors) -> list[tuple[str, Array]]:
    """Wider elements first, as the library does, so that every tensor is aligned."""
    return sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)


def _head(
    tensors: Sequence[tuple[str, Array]],
    shapes: Sequence[tuple[int, ...]],
    metadata: Mapping[str, str],
) -> bytes:
    """The header of tensors that are stored one after the other in these shapes."""
    infos, end = [], 0
    for (name, tensor), shape in zip(tensors, shapes, strict=True):
        if tensor.dtype not in _NAMES:
            raise StoreError(f"tensor {name} has dtype {tensor.dtype}, which cannot be stored")
        start, end = end, end + math.prod(shape) * tensor.dtype.itemsize
        infos.append(TensorInfo(name, tensor.dtype, shape, start, end))
    return Header(b"", tuple(infos), {}).with_metadata(metadata)


def read_tensors(store: Store, key: str) -> dict[str, Array]:
    """The tensors of a blob, of any shape, as writable views into one buffer of its size.

    Raises:
        StoreError: no such blob, or not a readable one (see `read_header`).
    """
    return tensors_of(key, store.get(key))


def read_described(store: Store, key: str) -> tuple[dict[str, Array], Mapping[str, str]]:
    """The tensors of a blob, as `read_tensors` gives them, and its metadata; raises as it does."""
    return _described(key, store.get(key))


def tensors_of(key: str, data: bytearray) -> dict[str, Array]:
    """The tensors of the blob `key`, as `read_tensors` gives them; raises as that does."""
    return _described(key, data)[0]


def _described(key: str, data: bytearray) -> tuple[dict[str, Array], Mapping[str, str]]:
    header = _parse_header(key, memoryview(data), len(data))
    tensors = {
        tensor.name: np.ndarray(tensor.shape, tensor.dtype, data, len(header.raw) + tensor.start)
        for tensor in header.tensors
    }
    return tensors, header.metadata


def read_named(store: Store, key: str, names: Collection[str]) -> dict[str, Array]:
    """Some tensors of a blob, of any shape, each in memory of its own.

    Raises:
        StoreError: no such blob or tensor, or not a readable one (see `read_header`).
    """
    blob = store.existing(key)
    header = read_header(blob)
    wanted = [tensor for tensor in header.tensors if tensor.name in names]
    if missing := set(names) - {tensor.name for tensor in wanted}:
        raise StoreError(f"{key} has no tensor {min(missing)}")
    return {
        tensor.name: np.ndarray(
            tensor.shape, tensor.dtype, header.read_range(blob, tensor.start, tensor.stop)
        )
        for tensor in wanted
    }


def encoded_rows(tensors: Tensors, rows: slice | Array) -> Iterator[Buffer]:
    """The blob of some rows of `tensors` for `Store.put_stream`, made block by block.

    The rows of a range are not copied.

    Args:
        tensors: arrays of the shapes (rows, …); memory-mapped ones are read as they are written.
        rows: which, as a range of step 1 or as positions, shape (n,).
    """
    ordered = _widest_first(tensors)
    if isinstance(rows, slice):
        ordered = [(name, tensor[rows]) for name, tensor in ordered]
    count = len(ordered[0][1]) if isinstance(rows, slice) else len(rows)
    yield _head(ordered, [(count, *tensor.shape[1:]) for _, tensor in ordered], {})
    for _, tensor in ordered:
        row_bytes = max(1, math.prod(tensor.shape[1:]) * tensor.dtype.itemsize)
        block = max(1, _BLOCK_BYTES // row_bytes)
        for first in range(0, count, block):
            chosen = slice(first, first + block)
            taken = tensor[chosen] if isinstance(rows, slice) else tensor[rows[chosen]]
            taken = np.require(taken, requirements="C")
            yield taken.reshape(-1).view(np.uint8).data


@dataclass(frozen=True, slots=True)
class Rows:
    """One tensor of a blob, read by ranges of its first axis; the rest stays in the store."""

    blob: Blob
    header: Header
    tensor: TensorInfo

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def read(self, start: int, stop: int) -> Array:
        """Rows `start` to `stop`, in the shape (stop - start, *the tensor's other axes)."""
        shape = (stop - start, *self.tensor.shape[1:])
        row_bytes = (self.tensor.stop - self.tensor.start) // len(self)
        first = self.tensor.start + start * row_bytes
        data = self.header.read_range(self.blob, first, first + shape[0] * row_bytes)
        return np.ndarray(shape, self.tensor.dtype, data)


def open_rows(store: Store, key: str, name: str) -> Rows:
    """The tensor `name` of the blob `key`, which has at least one row.

    Raises:
        StoreError: no such blob or tensor, or not a readable one (see `read_header`).
    """
    blob = store.existing(key)
    header = read_header(blob)
    found = [tensor for tensor in header.tensors if tensor.name == name]
    if not found or not found[0].shape or not found[0].shape[0]:
        raise StoreError(f"{key} has no rows of a tensor {name}")
    return Rows(blob, header, found[0])


def read_header(blob: Blob) -> Header:
    """The header of `blob`.

    Raises:
        StoreError: no safetensors, a dtype that numpy lacks, or another format version.
    """
    if blob.size < _LENGTH_BYTES:
        raise StoreError(f"{blob.key} is not safetensors: it has {blob.size} bytes")
    start = bytearray(_LENGTH_BYTES)
    blob.read_into(memoryview(start))
    head = bytearray(min(blob.size, _LENGTH_BYTES + int.from_bytes(start, "little")))
    blob.read_into(memoryview(head))
    return _parse_header(blob.key, memoryview(head), blob.size)


def _parse_header(key: str, head: memoryview, size: int) -> Header:
    """The header at the beginning of `head`, of a blob of `size` bytes in all."""
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    raw = bytes(head[: _LENGTH_BYTES + length])
    if len(raw) < _LENGTH_BYTES + length:
        raise StoreError(f"{key} is not safetensors: its header ends after the blob")
    try:
        fields = json.loads(raw[_LENGTH_BYTES:])
    except ValueError as error:
        raise StoreError(f"{key} is not safetensors: {error}") from error
    metadata = fields.pop("__metadata__", {})
    if metadata.get("format") != FORMAT_VERSION:
        raise StoreError(
            f"{key} has format {metadata.get('format')!r} and this disdel reads "
            f"{FORMAT_VERSION!r}: use the same disdel on every side"
        )
    tensors = sorted(
        (_tensor_info(name, entry) for name, entry in fields.items()),
        key=lambda tensor: tensor.start,
    )
    header = Header(raw, tuple(tensors), metadata)
    if len(raw) + header.data_bytes != size:
        raise StoreError(
            f"{key} has {size} bytes and its header describes {len(raw) + header.data_bytes}"
        )
    return header


def _tensor_info(name: str, entry: Mapping[str, object]) -> TensorInfo:
    dtype = _DTYPES.get(str(entry["dtype"]))
    if dtype is None:
        raise StoreError(f"tensor {name} has dtype {entry['dtype']}, which numpy lacks")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list):
        raise StoreError(f"tensor {name} has a malformed header entry")
    return TensorInfo(name, dtype, tuple(shape), offsets[0], offsets[1])
