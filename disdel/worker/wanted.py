"""Whether anybody still waits for an activation."""

from __future__ import annotations

from disdel.errors import DisdelError
from disdel.store.base import Store


class NotWanted(DisdelError):
    """Nobody waits for this activation: its run has ended, or another container was faster."""

    kind = "not-wanted"


def check_wanted(store: Store, *, state_key: str, progress_key: str) -> None:
    """End an activation whose state is gone: what it would store now, nobody would remove.

    Raises:
        NotWanted: the state has been removed since the activation has read it.
    """
    if store.open(state_key) is None:
        store.delete_fields(progress_key)
        raise NotWanted(f"{state_key} has been removed: the run or its round is over")
