"""A store inside one process."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from disdel.connections.patience import Patience
from disdel.errors import StoreError
from disdel.store.base import LIFETIME_S, Blob, Buffer, Store


class _MemoryBlob(Blob):
    def __init__(self, key: str, data: bytes) -> None:
        self.key = key
        self.size = len(data)
        self._data = data

    def read_into(self, target: memoryview, start: int = 0) -> None:
        if start + len(target) > self.size:
            raise StoreError(f"{self.key} does not hold bytes {start} to {start + len(target)}")
        target[:] = self._data[start : start + len(target)]


class MemoryStore(Store):
    """Nothing in it expires."""

    def __init__(self) -> None:
        self.address = "memory://"
        self.lifetime_s = LIFETIME_S
        self.patience = Patience(self.address, 0.0)
        self._ended: tuple[str, ...] = ()
        self._blobs: dict[str, bytes] = {}
        self._fields: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def put_stream(self, key: str, pieces: Iterable[Buffer]) -> None:
        data = b"".join(pieces)
        if key.startswith(self._ended):
            raise StoreError(f"{key} was not written: the run is over")
        with self._lock:
            self._blobs[key] = data

    def put_if_absent(self, key: str, data: Buffer) -> bool:
        with self._lock:
            if key in self._blobs:
                return False
            self._blobs[key] = bytes(data)
            return True

    def open(self, key: str) -> Blob | None:
        data = self._blobs.get(key)
        return None if data is None else _MemoryBlob(key, data)

    def delete(self, key: str) -> None:
        with self._lock:
            self._blobs.pop(key, None)

    def delete_prefix(self, prefix: str) -> int:
        with self._lock:
            keys = [key for key in (*self._blobs, *self._fields) if key.startswith(prefix)]
            for key in keys:
                self._blobs.pop(key, None)
                self._fields.pop(key, None)
            return len(keys)

    def renew_prefix(self, prefix: str) -> None:
        """Nothing to renew."""

    def set_field(self, key: str, field: str, value: str) -> None:
        with self._lock:
            self._fields.setdefault(key, {})[field] = value

    def claim_field(self, key: str, field: str, value: str) -> str:
        with self._lock:
            return self._fields.setdefault(key, {}).setdefault(field, value)

    def get_field(self, key: str, field: str) -> str | None:
        with self._lock:
            return self._fields.get(key, {}).get(field)

    def delete_fields(self, key: str) -> None:
        with self._lock:
            self._fields.pop(key, None)

    def fields(self, key: str) -> dict[str, str]:
        with self._lock:
            return dict(self._fields.get(key, {}))

    def stop_writing(self, prefix: str) -> None:
        self._ended += (prefix,)

    def close(self) -> None:
        """Nothing to release."""
