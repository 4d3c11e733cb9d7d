"""The interface of a store: blobs that are written whole, and small fields that are overwritten.

A blob is visible only once all of it is written, and writing it again replaces it, so a retried
action leaves the store as if it had run once. What is neither written nor renewed for `lifetime_s`
expires, so that a controller that was killed leaves nothing for good.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, TypeAlias

from disdel.connections.patience import Patience
from disdel.errors import StoreError
from disdel.store.lending import Needs

Buffer: TypeAlias = bytes | bytearray | memoryview

LIFETIME_S = 24 * 3600
# Where nobody says how much: a connection that was closed while it was idle is opened again.
SHORT_PATIENCE_S = 1.0
_POLL_S = 0.02


class Blob(ABC):
    """One version of a blob, to be read by ranges; a later write does not change it.

    Attributes:
        key: its key.
        size: its bytes.
    """

    key: str
    size: int

    @abstractmethod
    def read_into(self, target: memoryview, start: int = 0) -> None:
        """Fill `target` (bytes) from offset `start`.

        Raises:
            StoreError: the blob ends before `target` is full, or has expired.
        """


def whole(blob: Blob) -> bytearray:
    """All of a blob; raises as its `read_into`."""
    data = bytearray(blob.size)
    blob.read_into(memoryview(data))
    return data


class Store(ABC):
    """Blobs by key. Every method raises `StoreError` when the server fails.

    Attributes:
        address: what it is found by, without passwords.
        lifetime_s: after which a key expires that is neither written nor renewed.
        patience: with the server.
        about: what people should know of its kind; "" of a Redis, which is examined.
        lends: whether requests carry something of it, and replies bring something.
        lasting: whether what is in it outlives this process.
    """

    about: ClassVar[str] = ""
    lends: ClassVar[bool] = False
    lasting: ClassVar[bool] = True
    address: str
    lifetime_s: int
    patience: Patience

    def put(self, key: str, data: Buffer) -> None:
        """Write `data` as the blob `key`, replacing what was there."""
        self.put_stream(key, (data,))

    @abstractmethod
    def put_stream(self, key: str, pieces: Iterable[Buffer]) -> None:
        """Write the concatenation of `pieces`, holding at most one chunk of it in memory."""

    @abstractmethod
    def put_if_absent(self, key: str, data: Buffer) -> bool:
        """Write the blob unless there is one; true if this call wrote it.

        Of several callers at once exactly one succeeds.
        """

    @abstractmethod
    def open(self, key: str) -> Blob | None:
        """The blob as it stands now, or None when it does not exist (or is not complete yet)."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete the blob `key`; one that is not there is no error."""

    @abstractmethod
    def delete_prefix(self, prefix: str) -> int:
        """Delete every key that begins with `prefix`; the number of keys deleted.

        What is written meanwhile is deleted too, unless its writer comes after all others were.
        """

    @abstractmethod
    def renew_prefix(self, prefix: str) -> None:
        """Let every key that begins with `prefix` live for another `lifetime_s`."""

    @abstractmethod
    def set_field(self, key: str, field: str, value: str) -> None:
        """Overwrite one field of a small hash."""

    @abstractmethod
    def claim_field(self, key: str, field: str, value: str) -> str:
        """Write one field of a small hash unless it is there; what is there afterwards.

        Of several callers at once, all get the same.
        """

    @abstractmethod
    def get_field(self, key: str, field: str) -> str | None:
        """One field of a small hash; None when there is none."""

    @abstractmethod
    def delete_fields(self, key: str) -> None:
        """Delete a small hash; one that is not there is no error."""

    @abstractmethod
    def fields(self, key: str) -> dict[str, str]:
        """All fields of a small hash; empty when there is none."""

    def lend(self, needs: Needs) -> dict[str, object]:  # noqa: ARG002 - all is at the address
        """What an activation's arguments must have to do what it needs, beside the address.

        Raises:
            StoreError: that cannot be lent.
        """
        return {}

    def missing(self, needs: Needs) -> set[str]:  # noqa: ARG002 - whoever reads it waits for it
        """What an activation needs that must be there before it is lent."""
        return set()

    def take(self, reply: dict[str, object], needs: Needs) -> dict[str, object]:  # noqa: ARG002
        """An activation's reply without what it brings for the store.

        Raises:
            StoreError: it brings what it was not asked for.
        """
        return reply

    def bring(self, reply: dict[str, object]) -> dict[str, object]:
        """An activation's reply with what its store has to bring.

        Raises:
            StoreError: it is too large.
        """
        return reply

    @abstractmethod
    def stop_writing(self, prefix: str) -> None:
        """Write no more of blobs whose keys begin with `prefix`, also where a thread does."""

    @abstractmethod
    def close(self) -> None:
        """Release the connection."""

    def existing(self, key: str) -> Blob:
        """The blob `key`.

        Raises:
            StoreError: there is none.
        """
        blob = self.open(key)
        if blob is None:
            raise StoreError(f"nothing is stored under {key}: it was never written, or has expired")
        return blob

    def get(self, key: str) -> bytearray:
        """The whole blob.

        Raises:
            StoreError: no such blob.
        """
        return whole(self.existing(key))

    def get_each(self, keys: Sequence[str]) -> list[bytearray | None]:
        """The whole blobs of some keys, small ones; None for one that does not exist (yet)."""
        return [None if (blob := self.open(key)) is None else whole(blob) for key in keys]

    def wait_for(
        self,
        key: str,
        deadline_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Return once the blob exists.

        Args:
            key: the blob.
            deadline_s: when to give up, on `clock`.
            clock: seconds from some origin.
            sleep: waits for so many seconds.

        Raises:
            StoreError: the deadline passed.
        """
        while self.open(key) is None:
            if clock() >= deadline_s:
                raise StoreError(f"waited for {key}, which nobody has written")
            sleep(_POLL_S)
