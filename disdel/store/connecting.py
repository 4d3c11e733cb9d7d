"""The store at an address as a user gives one, which may need keys that no action has."""

from __future__ import annotations

from disdel.connections.patience import Tell, tell_nobody
from disdel.errors import ConnectionRefused
from disdel.store.base import SHORT_PATIENCE_S, Store
from disdel.store.opening import open_store
from disdel.types.units import MIB


def connect_store(
    url: str, *, patience_s: float = SHORT_PATIENCE_S, tell: Tell = tell_nobody
) -> Store:
    """Connect to the store at `url`; a server that fails for some time is waited for.

    Args:
        url: `s3://…`, `inline:`, or an address as actions are given one (`open_store`).
        patience_s: how long a request that fails is tried again.
        tell: told of outages.

    Raises:
        ConnectionRefused: the URL is none of a store, or no server answers there, or it refuses.
    """
    if url.partition("://")[0].lower() == "s3":
        from disdel.store.objects.s3 import S3Store

        return S3Store(url, patience_s=patience_s, tell=tell)
    if url == "inline:":
        from disdel.store.inline_host import InlineHost

        return InlineHost(MIB)
    if url.startswith("inline:"):
        raise ConnectionRefused("a store within requests is inline:, with nothing behind it")
    return open_store(url, patience_s=patience_s, tell=tell)
