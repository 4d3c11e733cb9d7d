"""The object store of who has no keys to it: URLs signed for one activation's own objects.

Their address is `lent+https://HOST/PATH?QUERY#OBJECTS`: what all the signed URLs have in common,
and in OBJECTS, base64 of JSON, the signature of each deed with each object. No other can be done.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from disdel.connections.patience import Patience, Tell, tell_nobody
from disdel.errors import ConnectionRefused, StoreError, StoreLost
from disdel.store.base import LIFETIME_S
from disdel.store.objects.exchange import Answer, Exchange
from disdel.store.objects.store import Deed, ObjectStore, named

SCHEME = "lent+"
# By deed, the headers that its signature covers.
SIGNED_HEADERS = {"create": "host;if-none-match"}
_DENIED = 403


def lent_address(base: str, query: str, signatures: Mapping[str, Mapping[Deed, str]]) -> str:
    """The address of a store that is lent.

    Args:
        base: the URL of the folder of all objects, with a slash at its end.
        query: of all signed URLs, but for the headers that are signed, and the signature.
        signatures: by the object's name and the deed.
    """
    told = json.dumps(signatures, separators=(",", ":")).encode()
    return f"{SCHEME}{base}?{query}#{base64.urlsafe_b64encode(told).decode()}"


class LentStore(ObjectStore):
    """The store at an address of `lent_address`.

    Args:
        url: the address.
        patience_s: how long a request that fails is tried again.
        deadline_s: when trying must end in any case, by `time.monotonic`.
        tell: told of outages.

    Raises:
        ConnectionRefused: it is no such address.
    """

    def __init__(
        self,
        url: str,
        *,
        patience_s: float,
        deadline_s: float = math.inf,
        tell: Tell = tell_nobody,
    ) -> None:
        try:
            parts = urlsplit(url.removeprefix(SCHEME))
            told = json.loads(base64.urlsafe_b64decode(parts.fragment))
            signatures = {str(name): {**deeds} for name, deeds in told.items()}
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise ConnectionRefused("the store that was lent has no address that is one") from None
        self._signatures: Mapping[str, Mapping[Deed, str]] = signatures
        self._path, self._query = parts.path, parts.query
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self.lifetime_s = LIFETIME_S
        self.patience = Patience(
            f"the object store at {self.address}", patience_s, deadline_s=deadline_s, tell=tell
        )
        self.exchange = Exchange(parts.scheme == "https", parts.netloc, self.patience)

    def target(self, deed: Deed, name: str) -> str:
        signature = self._signatures.get(name, {}).get(deed)
        if signature is None:
            raise StoreError(f"this activation may not {deed} {name}: it was not lent that")
        headers = SIGNED_HEADERS.get(deed, "host").replace(";", "%3B")
        return (
            f"{self._path}{quote(name, safe='')}?{self._query}"
            f"&X-Amz-SignedHeaders={headers}&X-Amz-Signature={signature}"
        )

    def failed(self, deed: str, name: str, answer: Answer) -> StoreError:
        if answer.status == _DENIED:
            # Whoever has lent it lends it anew with the next try.
            return StoreLost(
                f"{self.patience.server} does not let this activation {deed} {name} ({answer}): "
                "what it was lent has expired, or its lender's keys have"
            )
        return super().failed(deed, name, answer)

    def delete_fields(self, key: str) -> None:
        for field in self._lent_fields(key):
            if "delete" in self._signatures[named(key, field)]:
                self.delete(named(key, field))

    def fields(self, key: str) -> dict[str, str]:
        found = {field: self.get_field(key, field) for field in self._lent_fields(key)}
        return {field: value for field, value in found.items() if value is not None}

    def _lent_fields(self, key: str) -> list[str]:
        beginning = named(key, "")
        return [n.removeprefix(beginning) for n in self._signatures if n.startswith(beginning)]

    def delete_prefix(self, prefix: str) -> int:
        raise StoreError(f"{prefix}* is not deleted: this activation was lent single objects")

    def renew_prefix(self, prefix: str) -> None:
        raise StoreError(f"{prefix}* is not renewed: this activation was lent single objects")
