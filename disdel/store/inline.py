"""A store within requests and replies, for endpoints that reach none: what is small may travel so.

The controller keeps all blobs. A request carries those that its activation reads, and the reply
those that it wrote, in base64. What is too large for the platform is refused before it is sent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from disdel.errors import ConnectionRefused, StoreError
from disdel.store.base import Buffer
from disdel.store.memory_store import MemoryStore

SCHEME = "inline:"
# The field of a reply, and what a signature takes beside it.
WRITTEN = "written"
_SIGNATURE_BYTES = 100


@dataclass(frozen=True, slots=True)
class _Carried:
    """What a request carries: `most_bytes` is how long the JSON of its reply may be."""

    blobs: Mapping[str, str]
    fields: list[tuple[str, str, str]]
    most_bytes: int


class InlineStore(MemoryStore):
    """An activation's side, of what its request carries.

    Raises:
        ConnectionRefused: the address carries nothing that can be read.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.address = SCHEME
        self._written: dict[str, None] = {}
        try:
            told: dict[str, Any] = json.loads(url.removeprefix(SCHEME))
            carried = _Carried(**told)
            for key, text in carried.blobs.items():
                super().put_stream(key, (base64.b64decode(text, validate=True),))
            for key, field, value in carried.fields:
                self.set_field(key, field, value)
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise ConnectionRefused(
                "a request carries no store that can be read: update the older of controller and "
                "endpoint"
            ) from None
        self._most_bytes = carried.most_bytes

    def put_stream(self, key: str, pieces: Any) -> None:
        super().put_stream(key, pieces)
        self._written[key] = None

    def put_if_absent(self, key: str, data: Buffer) -> bool:
        wrote = super().put_if_absent(key, data)
        if wrote:
            self._written[key] = None
        return wrote

    def delete(self, key: str) -> None:
        super().delete(key)
        self._written.pop(key, None)

    def bring(self, reply: dict[str, object]) -> dict[str, object]:
        written = {key: text_of(self.get(key)) for key in self._written}
        brought = {**reply, WRITTEN: written}
        size = len(json.dumps(brought).encode()) + _SIGNATURE_BYTES
        if size > self._most_bytes:
            raise StoreError(
                f"the reply with what was written has {size} bytes, and this platform takes "
                f"{self._most_bytes}: name a store that its actions reach (--store), or take a "
                "smaller model"
            )
        return brought


def text_of(data: Buffer) -> str:
    return base64.b64encode(data).decode("ascii")
