"""The store at an address as actions are given one: a URL whose scheme says what kind it is."""

from __future__ import annotations

import math

from disdel.connections.masking import masked
from disdel.connections.patience import Tell, tell_nobody
from disdel.errors import ConnectionRefused
from disdel.store.base import LIFETIME_S, SHORT_PATIENCE_S, Store

FORMS = "redis://[USER]:PASSWORD@HOST[:PORT][/DB], rediss://… for the same by TLS, or unix://PATH"


def open_store(
    url: str,
    *,
    patience_s: float = SHORT_PATIENCE_S,
    first_contact_s: float | None = None,
    deadline_s: float = math.inf,
    lifetime_s: int = LIFETIME_S,
    tell: Tell = tell_nobody,
) -> Store:
    """Connect to the store at `url`; a server that fails for some time is waited for.

    What a kind of store needs is imported with the first of its kind: a cold start waits for it.

    Args:
        url: its address, in one of `FORMS`.
        patience_s: how long a request that fails is tried again.
        first_contact_s: the same while the server has never answered; by default a little.
        deadline_s: when trying must end in any case, by `time.monotonic`.
        lifetime_s: of every key, from when it was written or renewed last.
        tell: told of outages.

    Raises:
        ConnectionRefused: the URL is none of a store, or no server answers there, or it refuses.
    """
    if url.startswith("inline:"):
        from disdel.store.inline import InlineStore

        return InlineStore(url)
    match url.partition("://")[0].lower():
        case "redis" | "rediss" | "unix":
            from disdel.store.redis_store import FIRST_CONTACT_S, RedisStore

            return RedisStore(
                url,
                patience_s=patience_s,
                first_contact_s=FIRST_CONTACT_S if first_contact_s is None else first_contact_s,
                deadline_s=deadline_s,
                lifetime_s=lifetime_s,
                tell=tell,
            )
        case "lent+http" | "lent+https":
            from disdel.store.objects.lent import LentStore

            return LentStore(url, patience_s=patience_s, deadline_s=deadline_s, tell=tell)
    raise ConnectionRefused(f"{masked(url)} is no address of a store: it is {FORMS}")
