"""Blobs and fields as objects: one object a blob, `KEY`, and one a field, `KEY#FIELD`.

An object appears whole or not at all, so a blob needs no manifest, and a range of it is read with
the tag of the version that was opened: where another has taken its place, the reader is told. What
must be written once is written on condition that nothing is there. What is in the store is never
found by a listing, which servers and caches may give late.
"""

from __future__ import annotations

import re
import tempfile
from abc import abstractmethod
from collections.abc import Iterable
from typing import IO, Literal, TypeAlias, cast

from disdel.errors import StoreError
from disdel.store.base import Blob, Buffer, Store
from disdel.store.objects.exchange import Answer, Body, Exchange

# What may be done with an object: "create" it where there is none, "put" it in any case.
Deed: TypeAlias = Literal["get", "put", "create", "delete"]

# What S3 takes in one request.
_MOST_BYTES = 5 << 30
# A stream that is longer lies in a temporary file until it is sent, since its size is sent first.
_IN_MEMORY_BYTES = 4 << 20
# Read when a blob is opened: headers, and the whole of small ones.
_HEAD_BYTES = 16 << 10
METHODS = {"get": "GET", "put": "PUT", "create": "PUT", "delete": "DELETE"}
CREATE_HEADERS = {"If-None-Match": "*"}
_TOTAL = re.compile(r"bytes (?:[0-9]+-[0-9]+|\*)/([0-9]+)")
_MISSING = 404
_EXISTS = 412
_EMPTY = 416
_READ = (200, 206)
_WRITTEN = (200, 201, 204)


class ObjectStore(Store):
    """A store on an object server; how a request is allowed is up to who opens it.

    Attributes:
        exchange: with the server.
    """

    exchange: Exchange
    _ended: tuple[str, ...] = ()

    @abstractmethod
    def target(self, deed: Deed, name: str) -> str:
        """Path and query of a request that is allowed to do this to an object.

        Raises:
            StoreError: it may not be done.
        """

    def passes(self, answer: Answer) -> bool:  # noqa: ARG002 - for those who know more
        """Whether a refusal passes."""
        return False

    def _do(
        self,
        deed: Deed,
        name: str,
        *,
        headers: dict[str, str] | None = None,
        body: Body | None = None,
        size: int = 0,
        into: memoryview | None = None,
    ) -> Answer:
        conditions = CREATE_HEADERS if deed == "create" else {}
        return self.exchange.ask(
            METHODS[deed],
            lambda: self.target(deed, name),
            headers={**conditions, **(headers or {})},
            body=body,
            size=size,
            into=into,
            again=self.passes,
        )

    def failed(self, deed: str, name: str, answer: Answer) -> StoreError:
        """The error of an answer that is no success."""
        return StoreError(f"{self.patience.server} refuses to {deed} {name}: {answer}")

    def put_stream(self, key: str, pieces: Iterable[Buffer]) -> None:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
            size = 0
            for piece in pieces:
                size += memoryview(piece).nbytes
                self._check_open(key)
                if size > _MOST_BYTES:
                    raise StoreError(
                        f"{key} is larger than the {_MOST_BYTES >> 30} GB that an object server "
                        "takes at once: use a Redis, or a smaller model"
                    )
                spool.write(piece)
            self._check_open(key)
            self._write("put", key, cast("IO[bytes]", spool), size)

    def put(self, key: str, data: Buffer) -> None:
        self._check_open(key)
        self._write("put", key, data, memoryview(data).nbytes)

    def _check_open(self, key: str) -> None:
        if key.startswith(self._ended):
            raise StoreError(f"{key} was not written: the run is over")

    def _write(self, deed: Deed, name: str, body: Body, size: int) -> Answer:
        answer = self._do(deed, name, body=body, size=size)
        if answer.status not in _WRITTEN and not (deed == "create" and answer.status == _EXISTS):
            raise self.failed(deed, name, answer)
        return answer

    def put_if_absent(self, key: str, data: Buffer) -> bool:
        self._check_open(key)
        answer = self._write("create", key, data, memoryview(data).nbytes)
        if answer.status != _EXISTS:
            return True
        # It may have been this very call, whose first answer got lost.
        return answer.unsure and self.get(key) == memoryview(data).cast("B")

    def open(self, key: str) -> Blob | None:
        answer = self._do("get", key, headers={"Range": f"bytes=0-{_HEAD_BYTES - 1}"})
        if answer.status == _MISSING:
            return None
        tag = answer.headers.get("etag", "")
        if answer.status == _EMPTY:
            return _ObjectBlob(self, key, 0, tag, b"")
        if answer.status not in _READ:
            raise self.failed("read", key, answer)
        # A server that knows no ranges has sent all of it.
        total = _TOTAL.fullmatch(answer.headers.get("content-range", ""))
        size = int(total[1]) if answer.status == 206 and total else len(answer.body)
        return _ObjectBlob(self, key, size, tag, answer.body)

    def read(self, key: str, tag: str, target: memoryview, start: int) -> None:
        """Fill `target` from offset `start` of the version `tag` of a blob.

        Raises:
            StoreError: it is not there any more.
        """
        stop = start + len(target)
        conditions = {"Range": f"bytes={start}-{stop - 1}", **({"If-Match": tag} if tag else {})}
        answer = self._do("get", key, headers=conditions, into=target)
        if answer.status in (_MISSING, _EXISTS):
            raise StoreError(f"{key} was removed or written again while it was read")
        if answer.status != 206:
            raise self.failed("read", key, answer)

    def delete(self, key: str) -> None:
        answer = self._do("delete", key)
        if answer.status not in (*_WRITTEN, _MISSING):
            raise self.failed("delete", key, answer)

    def set_field(self, key: str, field: str, value: str) -> None:
        data = value.encode()
        self._write("put", named(key, field), data, len(data))

    def claim_field(self, key: str, field: str, value: str) -> str:
        data = value.encode()
        answer = self._write("create", named(key, field), data, len(data))
        if answer.status != _EXISTS:
            return value
        # None where it was deleted in between.
        return self.get_field(key, field) or value

    def get_field(self, key: str, field: str) -> str | None:
        name = named(key, field)
        answer = self._do("get", name)
        if answer.status == _MISSING:
            return None
        if answer.status not in _READ:
            raise self.failed("read", name, answer)
        return answer.body.decode(errors="replace")

    def stop_writing(self, prefix: str) -> None:
        self._ended += (prefix,)

    def close(self) -> None:
        self.exchange.close()


class _ObjectBlob(Blob):
    def __init__(self, store: ObjectStore, key: str, size: int, tag: str, head: bytes) -> None:
        self.key = key
        self.size = size
        self._store = store
        self._tag = tag
        self._head = head

    def read_into(self, target: memoryview, start: int = 0) -> None:
        stop = start + len(target)
        if stop > self.size:
            raise StoreError(f"{self.key} does not hold bytes {start} to {stop}")
        if stop <= len(self._head):
            target[:] = self._head[start:stop]
        elif len(target):
            self._store.read(self.key, self._tag, target, start)


def named(key: str, field: str) -> str:
    """The object of a field of a small hash."""
    return f"{key}#{field}"
