"""Cancellation: an activation for which nobody waits any more ends by itself."""

from __future__ import annotations

from disdel.errors import DisdelError
from disdel.store.base import Store


class Cancelled(DisdelError):
    """Nobody waits for this activation: its run has ended, or another container was faster."""

    kind = "cancelled"


def check_cancelled(store: Store, *, state_key: str, progress_key: str) -> None:
    """End an activation whose state is gone: what it would store now, nobody would remove.

    Raises:
        Cancelled: the state has been removed since the activation has read it.
    """
    if store.open(state_key) is None:
        store.delete_fields(progress_key)
        raise Cancelled(f"{state_key} has been removed: the run or its round is over")
