"""How a blob lies in Redis: chunks, and a manifest that says which."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis

from disdel.errors import StoreError
from disdel.store.base import Buffer

MANIFEST_VERSION = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    version: int
    size: int
    chunk_bytes: int
    generation: str

    def chunks(self) -> range:
        return range(-(-self.size // self.chunk_bytes))

    def chunk_name(self, key: str, index: int) -> str:
        return f"{key}:{self.generation}:{index}"

    def chunk_names(self, key: str) -> list[str]:
        return [self.chunk_name(key, index) for index in self.chunks()]

    @property
    def text(self) -> str:
        return json.dumps(asdict(self))


def parsed(key: str, text: Any) -> dict[str, Any] | None:
    """The fields of a manifest; None where there is none.

    Raises:
        redis.InvalidResponse: it is something else.
    """
    if text is None:
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise redis.InvalidResponse(f"{key} is no blob of disdel's")
    return fields


def manifest_of(key: str, fields: dict[str, Any] | None) -> Manifest | None:
    """The manifest of these fields; None where there are none.

    Raises:
        StoreError: they are of another version, or no manifest's.
    """
    if fields is None:
        return None
    if fields.get("version") != MANIFEST_VERSION:
        raise StoreError(
            f"{key} has version {fields.get('version')} of the store's format and this disdel "
            f"reads {MANIFEST_VERSION}: use the same disdel on every side"
        )
    try:
        return Manifest(**fields)
    except TypeError as error:
        raise StoreError(f"{key} is no blob of disdel's: {error}") from error


def joined(key: str, manifest: Manifest, chunks: Sequence[bytes]) -> bytearray:
    """The whole blob of its chunks.

    Raises:
        StoreError: one of them is not there any more.
    """
    data = bytearray().join(chunks)
    if len(data) != manifest.size:
        raise StoreError(f"a chunk of {key} was removed or has expired")
    return data


def rechunked(pieces: Iterable[Buffer], chunk_bytes: int) -> Iterator[Buffer]:
    """Cut a stream of pieces of any size into chunks of `chunk_bytes`, the last one shorter.

    A piece that is a whole chunk passes through without a copy.
    """
    pending = bytearray()
    for piece in pieces:
        view = memoryview(piece).cast("B")
        offset = 0
        while offset < len(view):
            if not pending and len(view) - offset >= chunk_bytes:
                yield view[offset : offset + chunk_bytes]
                offset += chunk_bytes
                continue
            taken = min(chunk_bytes - len(pending), len(view) - offset)
            pending += view[offset : offset + taken]
            offset += taken
            if len(pending) == chunk_bytes:
                yield pending
                pending = bytearray()
    if pending:
        yield pending
