"""Room for containers: who may run beside whom, and as which worker."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """At most so many activations at a time, and so much memory of all of them together.

    Args:
        containers: how many.
        pool_mb: the memory; None where nothing bounds it.
        first: the number of its first worker.
    """

    def __init__(self, containers: int, pool_mb: int | None, first: int = 0) -> None:
        self._free = list(range(first, first + containers))
        self._pool_mb = pool_mb
        self._used_mb = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def taken(self, memory_mb: int) -> AsyncIterator[int]:
        """Inside, one activation of this memory has its room; the number of its worker.

        One that is larger than the whole pool runs when it is alone.
        """

        def fits() -> bool:
            beside = self._pool_mb is None or self._used_mb + memory_mb <= self._pool_mb
            return bool(self._free) and (beside or not self._used_mb)

        async with self._changed:
            await self._changed.wait_for(fits)
            # The lowest: a run of few messages has few warm containers.
            worker = heapq.heappop(self._free)
            self._used_mb += memory_mb
        try:
            yield worker
        finally:
            # Nothing is awaited here, so that a cancelled task gives its room back, too.
            heapq.heappush(self._free, worker)
            self._used_mb -= memory_mb
            asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
