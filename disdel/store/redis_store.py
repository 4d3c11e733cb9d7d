"""The store on a Redis server.

A blob `key` is a manifest (JSON: version, size, chunk size, generation) under `key` itself and its
chunks under `key:<generation>:<index>`. The manifest is written last, so a reader sees a whole blob
or none, and a new generation never overwrites chunks that somebody is reading. Chunks are small,
since whoever reads or writes one holds it several times over.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from disdel.errors import ConnectionRefused, StoreError
from disdel.masking import masked
from disdel.store.base import TTL_S, Blob, Buffer, Store
from disdel.units import MIB

# Twice as fast as 16 MiB, and a state of 8 MB is read with 30 MB less: docs/measurements.md.
CHUNK_BYTES = 1 << 20
_MANIFEST_VERSION = 1
_CONNECT_TIMEOUT_S = 5.0
_REPLY_TIMEOUT_S = 30.0

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Manifest:
    version: int
    size: int
    chunk_bytes: int
    generation: str

    def chunks(self) -> range:
        return range(-(-self.size // self.chunk_bytes))

    def chunk_name(self, key: str, index: int) -> str:
        return f"{key}:{self.generation}:{index}"


def _translated(
    method: Callable[Concatenate[RedisStore, P], R],
) -> Callable[Concatenate[RedisStore, P], R]:
    """Turn redis's exceptions into `StoreError`, so that none leaves this module."""

    @wraps(method)
    def call(self: RedisStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except redis.RedisError as error:
            raise StoreError(f"Redis at {self.address} failed: {error}") from error

    return call


class RedisStore(Store):
    """A store on the Redis at `url`.

    Args:
        url: `redis://[:password@]host:port[/db]`, `rediss://…` or `unix://…`.

    Raises:
        ConnectionRefused: the URL is malformed or no Redis answers there.
    """

    def __init__(self, url: str, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._chunk_bytes = chunk_bytes
        self._ended: tuple[str, ...] = ()
        try:
            self._redis = redis.Redis.from_url(
                url,
                socket_connect_timeout=_CONNECT_TIMEOUT_S,
                socket_timeout=_REPLY_TIMEOUT_S,
                retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
            )
        except (ValueError, TypeError):
            # What redis-py says of it may name a part of the password.
            raise ConnectionRefused(_no_url(url)) from None
        self.address = masked(url)
        try:
            self._redis.ping()
        except (ValueError, TypeError, OverflowError):
            # An option that there is not, or a value that it cannot have.
            self._redis.close()
            raise ConnectionRefused(_no_url(url)) from None
        except (redis.RedisError, OSError) as error:
            self._redis.close()
            raise ConnectionRefused(
                f"no Redis answers at {self.address} ({error}); start one there, or leave --redis "
                "out for a private one"
            ) from error

    @_translated
    def put_stream(self, key: str, pieces: Iterable[Buffer]) -> None:
        self._redis.set(key, self._write_chunks(key, pieces), ex=TTL_S)

    @_translated
    def put_if_absent(self, key: str, data: Buffer) -> bool:
        if self._redis.exists(key):
            return False
        manifest = self._write_chunks(key, (data,))
        return bool(self._redis.set(key, manifest, ex=TTL_S, nx=True))

    def _write_chunks(self, key: str, pieces: Iterable[Buffer]) -> str:
        generation = secrets.token_hex(4)
        size = 0
        for index, chunk in enumerate(_rechunked(pieces, self._chunk_bytes)):
            if key.startswith(self._ended):
                raise StoreError(f"{key} was not written: the run is over")
            # A view, which redis-py sends without a copy.
            self._redis.set(f"{key}:{generation}:{index}", memoryview(chunk), ex=TTL_S)
            size += len(chunk)
        return json.dumps(asdict(_Manifest(_MANIFEST_VERSION, size, self._chunk_bytes, generation)))

    def stop_writing(self, prefix: str) -> None:
        """Write no more of blobs whose keys begin with `prefix`, also where a thread does."""
        self._ended += (prefix,)

    @_translated
    def open(self, key: str) -> Blob | None:
        manifest = self._manifest(key)
        return None if manifest is None else _RedisBlob(self, key, manifest)

    def _manifest(self, key: str) -> _Manifest | None:
        text = self._redis.get(key)
        if text is None:
            return None
        fields = json.loads(text)
        if fields.get("version") != _MANIFEST_VERSION:
            raise StoreError(
                f"{key} has version {fields.get('version')} of the store's format and this disdel "
                f"reads {_MANIFEST_VERSION}: use the same disdel on every side"
            )
        return _Manifest(**fields)

    @_translated
    def delete(self, key: str) -> None:
        manifest = self._manifest(key)
        if manifest is not None:
            self._redis.unlink(key, *(manifest.chunk_name(key, i) for i in manifest.chunks()))

    @_translated
    def read_chunk(self, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` of one chunk; shorter when the chunk is."""
        return cast(bytes, self._redis.getrange(name, start, stop - 1))

    @_translated
    def delete_prefix(self, prefix: str) -> int:
        pattern = "".join(f"\\{char}" if char in "*?[]\\" else char for char in prefix) + "*"
        deleted = 0
        # A scan may miss what is written while it goes on, so the last one finds nothing.
        while found := self._unlink_found(pattern):
            deleted += found
        return deleted

    def _unlink_found(self, pattern: str) -> int:
        deleted = 0
        batch: list[bytes] = []
        for key in self._redis.scan_iter(pattern, count=1000):
            batch.append(key)
            if len(batch) == 1000:
                deleted += int(self._redis.unlink(*batch))
                batch.clear()
        return deleted + (int(self._redis.unlink(*batch)) if batch else 0)

    @_translated
    def set_field(self, key: str, field: str, value: str) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(key, field, value)
            pipe.expire(key, TTL_S)
            pipe.execute()

    @_translated
    def fields(self, key: str) -> dict[str, str]:
        found = cast("dict[bytes, bytes]", self._redis.hgetall(key))
        return {name.decode(): value.decode() for name, value in found.items()}

    @_translated
    def room_mb(self) -> int | None:
        """Memory in MB that the server has left below its `maxmemory`; None where it has none."""
        memory = cast("dict[str, int]", self._redis.info("memory"))
        maximum = memory.get("maxmemory", 0)
        return max(0, maximum - memory["used_memory"]) // MIB if maximum else None

    def close(self) -> None:
        self._redis.close()


class _RedisBlob(Blob):
    def __init__(self, store: RedisStore, key: str, manifest: _Manifest) -> None:
        self.key = key
        self.size = manifest.size
        self._store = store
        self._manifest = manifest

    def read_into(self, target: memoryview, start: int = 0) -> None:
        stop = start + len(target)
        if stop > self.size:
            raise StoreError(f"{self.key} does not hold bytes {start} to {stop}")
        chunk_bytes = self._manifest.chunk_bytes
        for index in range(start // chunk_bytes, -(-stop // chunk_bytes)):
            offset = index * chunk_bytes
            first, last = max(start, offset), min(stop, offset + chunk_bytes)
            name = self._manifest.chunk_name(self.key, index)
            chunk = self._store.read_chunk(name, first - offset, last - offset)
            if len(chunk) != last - first:
                raise StoreError(f"chunk {index} of {self.key} was removed or has expired")
            target[first - start : last - start] = chunk


def _no_url(url: str) -> str:
    return (
        f"{masked(url)} is not a Redis URL: it is redis://[:PASSWORD@]HOST[:PORT][/DB], rediss://… "
        "or unix://PATH, perhaps with ?options of redis-py; a password has its @ : / ? # % as "
        "%40 %3A %2F %3F %23 %25"
    )


def _rechunked(pieces: Iterable[Buffer], chunk_bytes: int) -> Iterator[Buffer]:
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
