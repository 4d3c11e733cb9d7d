"""The controller's side of a store within requests and replies (`inline.py`), which has all."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from disdel.errors import StoreError
from disdel.store.inline import SCHEME, WRITTEN, text_of
from disdel.store.lending import Needs
from disdel.store.memory_store import MemoryStore


class InlineHost(MemoryStore):
    """Blobs in this process, which requests carry and replies bring.

    Attributes:
        payload_bytes: how long the JSON of a reply may be.
        because: why it is the store, where nobody has named it.
    """

    about = "none: small data travel in requests and replies"
    lends = True
    lasting = False

    def __init__(self, payload_bytes: int) -> None:
        super().__init__()
        self.address = SCHEME
        self.payload_bytes = payload_bytes
        self.because = ""

    def missing(self, needs: Needs) -> set[str]:
        return {key for key in needs.reads if self.open(key) is None}

    def lend(self, needs: Needs) -> dict[str, object]:
        present = [key for key in needs.reads | needs.creates if self.open(key) is not None]
        carried = {
            "blobs": {key: text_of(self.get(key)) for key in sorted(present)},
            "fields": [
                (key, field, value)
                for key, field in sorted(needs.looks)
                if (value := self.get_field(key, field)) is not None
            ],
            "most_bytes": self.payload_bytes,
        }
        return {"store": f"{SCHEME}{json.dumps(carried, separators=(',', ':'))}"}

    def take(self, reply: dict[str, object], needs: Needs) -> dict[str, object]:
        written = reply.pop(WRITTEN, {})
        if not isinstance(written, dict):
            raise StoreError("a reply's blobs are no JSON object")
        for key, text in written.items():
            if key not in needs.writes | needs.creates:
                raise StoreError(f"a reply brings {str(key)[:200]}, which was not asked for")
            try:
                data = base64.b64decode(text, validate=True)
            except (ValueError, TypeError):
                raise StoreError(f"a reply brings {key}, which is no base64") from None
            if key in needs.writes:
                self.put(key, data)
            elif not self.put_if_absent(key, data) and self.get(key) != data:
                raise StoreError(
                    f"two activations began with different weights ({key}): on platforms of other "
                    "processors use a store that all of them reach (--store)"
                )
        return reply


def check_size(arguments: Mapping[str, object], payload_bytes: int) -> None:
    """Refuse a request that the platform would refuse, or cut.

    Raises:
        StoreError: its JSON is longer than `payload_bytes`.
    """
    size = len(json.dumps(arguments).encode())
    if size > payload_bytes:
        raise StoreError(
            f"a request with its data has {size} bytes, and this platform takes {payload_bytes}: "
            "name a store that its actions reach (--store), or take more containers or fewer "
            "samples for each"
        )
