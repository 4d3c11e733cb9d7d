"""The store on a Redis server.

A blob `key` is a manifest (JSON: version, size, chunk size, generation) under `key` itself and its
chunks under `key:<generation>:<index>`. The manifest is written last, so a reader sees a whole blob
or none, and a new generation never overwrites chunks that somebody is reading. Chunks are small,
since whoever reads or writes one holds it several times over.
"""

from __future__ import annotations

import contextlib
import math
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from disdel.connections.masking import masked
from disdel.connections.patience import Patience, Tell, Tries, tell_nobody
from disdel.connections.trust import redis_options
from disdel.errors import ConnectionRefused, StoreError, StoreLost
from disdel.store.base import LIFETIME_S, SHORT_PATIENCE_S, Blob, Buffer, Store
from disdel.store.chunks import (
    MANIFEST_VERSION,
    Manifest,
    joined,
    manifest_of,
    parsed,
    rechunked,
)
from disdel.store.redis_failures import advice, is_unreachable, passes

# Twice as fast as 16 MiB, and a state of 8 MB is read with 30 MB less: docs/measurements.md.
CHUNK_BYTES = 1 << 20
_CONNECT_TIMEOUT_S = 5.0
_REPLY_TIMEOUT_S = 15.0
# Patience with a server that has never answered: the address may be wrong.
FIRST_CONTACT_S = 2.0
# How long a server that has let this user in may not know it, see `make_user`. The controller
# pauses for up to 2 s before it tries again.
_UNKNOWN_USER_S = 5.0

T = TypeVar("T")


class RedisStore(Store):
    """A store on the Redis at `url`; a server that fails for some time is waited for.

    Args:
        url: `redis://[:password@]host:port[/db]`, `rediss://…` or `unix://…`.
        chunk_bytes: of the chunks of a blob.
        patience_s: how long a request that fails is tried again.
        first_contact_s: the same while the server has never answered.
        deadline_s: when trying must end in any case, by `time.monotonic`.
        lifetime_s: of every key, from when it was written or renewed last.
        tell: told of outages.

    Attributes:
        address: the URL without its password.
        patience: with the server.

    Raises:
        ConnectionRefused: the URL is malformed, no Redis answers there, or it refuses this user.
    """

    def __init__(
        self,
        url: str,
        *,
        chunk_bytes: int = CHUNK_BYTES,
        patience_s: float = SHORT_PATIENCE_S,
        first_contact_s: float = FIRST_CONTACT_S,
        deadline_s: float = math.inf,
        lifetime_s: int = LIFETIME_S,
        tell: Tell = tell_nobody,
    ) -> None:
        self.lifetime_s = lifetime_s
        self._chunk_bytes = chunk_bytes
        self._ended: tuple[str, ...] = ()
        self._user: tuple[str, ...] | None = None
        self.address = masked(url)
        self.patience = Patience(
            f"Redis at {self.address}", patience_s, deadline_s=deadline_s, tell=tell
        )
        try:
            self._redis = redis.Redis.from_url(
                url,
                # What every server speaks, and without a greeting of its own.
                protocol=2,
                socket_connect_timeout=_CONNECT_TIMEOUT_S,
                socket_timeout=_REPLY_TIMEOUT_S,
                # Tried again here alone, where it is known for how long and who is told.
                retry=Retry(NoBackoff(), 0),
                redis_connect_func=self._on_connect,
                **redis_options(url),
            )
        except (ValueError, TypeError):
            # What redis-py says of it may name a part of the password.
            raise ConnectionRefused(_no_url(url)) from None
        try:
            self._greet(first_contact_s)
        except (ValueError, TypeError, OverflowError):
            # An option that there is not, or a value that it cannot have.
            self._redis.close()
            raise ConnectionRefused(_no_url(url)) from None
        except BaseException:
            self._redis.close()
            raise

    def _greet(self, first_contact_s: float) -> None:
        """Wait for the first answer, not long where nobody is there."""
        tries = self.patience.tries()
        while True:
            try:
                self._redis.ping()
            except (redis.RedisError, OSError) as error:
                if not passes(error):
                    raise ConnectionRefused(
                        f"the Redis at {self.address} {advice(error)}"
                    ) from error
                nobody = is_unreachable(error)
                if tries.wait(_said(error), limit_s=first_contact_s if nobody else math.inf):
                    continue
                if nobody:
                    raise ConnectionRefused(
                        f"no Redis answers at {self.address} ({error}); start one there, or leave "
                        "--redis out for a private one"
                    ) from error
                raise self._lost(tries, error) from error
            else:
                tries.succeeded()
                return

    def _ask(self, ask: Callable[[], T]) -> T:
        """What the server answers; failures that pass are waited out.

        Args:
            ask: sends a command that may be sent twice: its first answer may get lost.

        Raises:
            StoreError: it refuses.
            StoreLost: patience is at its end.
        """
        tries, unknown = self.patience.tries(), None
        while True:
            try:
                answer = ask()
            except redis.AuthenticationError as error:
                unknown = unknown or self.patience.tries()
                if not unknown.wait(_said(error), limit_s=_UNKNOWN_USER_S):
                    raise StoreError(f"Redis at {self.address} failed: {error}") from error
            except (redis.RedisError, OSError) as error:
                if not passes(error):
                    raise StoreError(f"Redis at {self.address} failed: {error}") from error
                if not tries.wait(_said(error)):
                    raise self._lost(tries, error) from error
            else:
                tries.succeeded()
                return answer

    def _lost(self, tries: Tries, error: Exception) -> StoreLost:
        how = f"failed for {tries.lasted_s:.0f} s"
        if self.patience.has_ended():
            how = "ended, and what it held is gone"
        return StoreLost(f"Redis at {self.address} has {how}: {_said(error)}")

    def put_stream(self, key: str, pieces: Iterable[Buffer]) -> None:
        manifest = self._write_chunks(key, pieces)
        self._ask(lambda: self._redis.set(key, manifest.text, ex=self.lifetime_s))

    def put_if_absent(self, key: str, data: Buffer) -> bool:
        if self._ask(lambda: self._redis.exists(key)):
            return False
        manifest = self._write_chunks(key, (data,))
        if self._ask(lambda: self._redis.set(key, manifest.text, ex=self.lifetime_s, nx=True)):
            return True
        # It may have been this very call, whose first answer got lost.
        if self._ask(lambda: self._redis.get(key)) == manifest.text.encode():
            return True
        self._forget(manifest.chunk_names(key))
        return False

    def _write_chunks(self, key: str, pieces: Iterable[Buffer]) -> Manifest:
        """Write what a manifest is to name; where that fails, nothing of it stays."""
        generation = secrets.token_hex(4)
        size = 0
        names: list[str] = []
        try:
            for index, chunk in enumerate(rechunked(pieces, self._chunk_bytes)):
                self._check_run(key)
                names.append(f"{key}:{generation}:{index}")
                # A view, which redis-py sends without a copy.
                write = partial(self._redis.set, names[-1], memoryview(chunk))
                self._ask(partial(write, ex=self.lifetime_s))
                size += len(chunk)
        except BaseException:
            self._forget(names)
            raise
        return Manifest(MANIFEST_VERSION, size, self._chunk_bytes, generation)

    def _check_run(self, key: str) -> None:
        if key.startswith(self._ended):
            raise StoreError(f"{key} was not written: the run is over")

    def _forget(self, names: Sequence[str]) -> None:
        """Remove chunks that no manifest names; tried once, since they expire in the end."""
        with contextlib.suppress(redis.RedisError, OSError):
            if names:
                self._redis.unlink(*names)

    def stop_writing(self, prefix: str) -> None:
        self._ended += (prefix,)

    def open(self, key: str) -> Blob | None:
        manifest = self._manifest(key)
        return None if manifest is None else _RedisBlob(self, key, manifest)

    def get_each(self, keys: Sequence[str]) -> list[bytearray | None]:
        """As `Store.get_each`, in two requests."""

        def ask() -> list[dict[str, Any] | None]:
            texts = self._at_once("GET", *((key,) for key in keys))
            return [parsed(key, text) for key, text in zip(keys, texts, strict=True)]

        manifests = list(map(manifest_of, keys, self._ask(ask)))
        named = [
            [] if manifest is None else manifest.chunk_names(key)
            for key, manifest in zip(keys, manifests, strict=True)
        ]
        ranges = [(name, 0, -1) for name in chain.from_iterable(named)]
        chunks = iter(self._ask(lambda: self._at_once("GETRANGE", *ranges)))
        return [
            None if manifest is None else joined(key, manifest, [next(chunks) for _ in names])
            for key, manifest, names in zip(keys, manifests, named, strict=True)
        ]

    def _at_once(self, command: str, *arguments: Sequence[Any]) -> list[Any]:
        """The answers to one command with several arguments, in one request."""
        with self._redis.pipeline(transaction=False) as pipe:
            ask: Any = pipe.execute_command
            for one in arguments:
                ask(command, *one)
            return pipe.execute()

    def _manifest(self, key: str) -> Manifest | None:
        return manifest_of(key, self._ask(lambda: parsed(key, self._redis.get(key))))

    def delete(self, key: str) -> None:
        manifest = self._manifest(key)
        if manifest is not None:
            self._ask(lambda: self._redis.unlink(key, *manifest.chunk_names(key)))

    def read_chunk(self, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` of one chunk; shorter when the chunk is."""
        return cast(bytes, self._ask(lambda: self._redis.getrange(name, start, stop - 1)))

    def delete_prefix(self, prefix: str) -> int:
        deleted = 0
        # A scan may miss what is written while it goes on, so the last one finds nothing.
        while found := self._unlink_found(prefix):
            deleted += found
        return deleted

    def _unlink_found(self, prefix: str) -> int:
        found = 0
        for keys in self._found(prefix):
            self._ask(partial(self._redis.unlink, *keys))
            # How many were unlinked is not known where the first answer got lost.
            found += len(keys)
        return found

    def renew_prefix(self, prefix: str) -> None:
        for keys in self._found(prefix):
            self._ask(partial(self._renew, keys))

    def _renew(self, keys: list[bytes]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.expire(key, self.lifetime_s)
            pipe.execute()

    def _found(self, prefix: str) -> Iterator[list[bytes]]:
        """The keys that begin with `prefix`, some at a time."""
        pattern = f"{escaped(prefix)}*"
        cursor = 0
        while True:
            scan = partial(self._redis.scan, cursor, pattern, count=1000)
            cursor, keys = cast("tuple[int, list[bytes]]", self._ask(scan))
            if keys:
                yield keys
            if not cursor:
                return

    def set_field(self, key: str, field: str, value: str) -> None:
        def write() -> None:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(key, field, value)
                pipe.expire(key, self.lifetime_s)
                pipe.execute()

        self._ask(write)

    def claim_field(self, key: str, field: str, value: str) -> str:
        def claim() -> bytes | None:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.hsetnx(key, field, value)
                pipe.expire(key, self.lifetime_s)
                pipe.hget(key, field)
                return cast("bytes | None", pipe.execute()[-1])

        # None where the hash was deleted in between.
        return (self._ask(claim) or value.encode()).decode()

    def get_field(self, key: str, field: str) -> str | None:
        found = cast("bytes | None", self._ask(lambda: self._redis.hget(key, field)))
        return None if found is None else found.decode()

    def delete_fields(self, key: str) -> None:
        self._ask(lambda: self._redis.unlink(key))

    def fields(self, key: str) -> dict[str, str]:
        found = cast("dict[bytes, bytes]", self._ask(lambda: self._redis.hgetall(key)))
        return {name.decode(): value.decode() for name, value in found.items()}

    def ask(self, ask: Callable[[redis.Redis], T]) -> T:
        """What the server answers to commands that may be sent twice.

        Raises:
            StoreError: it refuses, or does not answer any more.
        """
        return self._ask(lambda: ask(self._redis))

    def make_user(self, name: str, rules: Sequence[str]) -> None:
        """Make a user on the server, by rules of `ACL SETUSER`, and keep it there.

        A server that is started again knows it no more, nor does a replica that takes over. It is
        told with every connection, the first of which is this one's after such an outage.

        Raises:
            StoreError: it may not be made.
        """
        command = ("ACL", "SETUSER", name, *rules)
        server: Any = self._redis
        self._ask(lambda: server.execute_command(*command))
        self._user = command

    def remove_user(self, name: str) -> None:
        """Remove a user, whose connections end; one that is not there is no error.

        Raises:
            StoreError: it may not be removed.
        """
        self._user = None
        self._ask(lambda: self._redis.acl_deluser(name))

    def _on_connect(self, connection: Any) -> None:
        # The client's name and version (CLIENT SETINFO, by the attributes of any redis-py) are two
        # more answers to wait for, and refused to a run's own user, which fills the ACL LOG.
        vars(connection).update(driver_info=None, lib_name=None, lib_version=None)
        connection.on_connect()
        if self._user is not None:
            connection.send_command(*self._user)
            # Where it is not allowed any more, actions will say what they miss.
            with contextlib.suppress(redis.ResponseError):
                connection.read_response()

    def close(self) -> None:
        self._redis.close()


class _RedisBlob(Blob):
    def __init__(self, store: RedisStore, key: str, manifest: Manifest) -> None:
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


def escaped(text: str) -> str:
    """`text` as it stands in a glob pattern of Redis."""
    return "".join(f"\\{char}" if char in "*?[]\\" else char for char in text)


def _no_url(url: str) -> str:
    return (
        f"{masked(url)} is not a Redis URL: it is redis://[:PASSWORD@]HOST[:PORT][/DB], rediss://… "
        "or unix://PATH, perhaps with ?options of redis-py; a password has its @ : / ? # % as "
        "%40 %3A %2F %3F %23 %25"
    )


def _said(error: Exception) -> str:
    """An error in words, which redis-py sometimes leaves out."""
    return str(error).rstrip(".") or type(error).__name__
