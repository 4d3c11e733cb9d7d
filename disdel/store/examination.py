"""What is seen of a store before a run: its room, and what it allows."""

from __future__ import annotations

from dataclasses import dataclass

KEEPS_ALL = "noeviction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was seen of a server.

    Attributes:
        room_mb: what a run can store below its `maxmemory`; None where there is no such limit, or
            it does not tell.
        maxmemory_mb: that setting; None likewise.
        evicts: the policy by which it removes keys when it is full, or None.
        told: whether it tells of itself at all.
        makes_users: whether our user may make others there; None where that was not asked.
    """

    room_mb: int | None = None
    maxmemory_mb: int | None = None
    evicts: str | None = None
    told: bool = True
    makes_users: bool | None = None

    def warning(self, address: str, needed_mb: int) -> str | None:
        """What a user should know of a server that has room for `needed_mb`."""
        if not self.told:
            return (
                f"the Redis at {address} does not tell its limits (INFO is forbidden): a run needs "
                f"up to {needed_mb} MB of it, and maxmemory-policy {KEEPS_ALL}"
            )
        if self.evicts is None:
            return None
        return (
            f"the Redis at {address} removes keys when it is full (maxmemory-policy "
            f"{self.evicts}), those of a run too: {self.room_mb} of {self.maxmemory_mb} MB are "
            f"free, and this run needs up to {needed_mb}. CONFIG SET maxmemory-policy {KEEPS_ALL} "
            "makes sure of them"
        )
