"""How many calls are under way at a place that refuses more than it can take.

It does not say how many these are, and others may call it, too. So every refusal lowers the number
that are sent at the same time to those that were taken, and every answer raises it a little.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Pacing:
    """The calls of one client.

    Args:
        most: how many may ever be under way.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = float(most)
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many may be under way now."""
        return int(self._limit)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Inside, a call is under way."""
        while self._running >= self.limit:
            free = asyncio.get_running_loop().create_future()
            self._waiting.append(free)
            try:
                await free
            except asyncio.CancelledError:
                if free.done() and not free.cancelled():
                    self._wake()
                raise
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._wake()

    def at_most(self, most: int) -> None:
        """It has become known how many may ever be under way."""
        self._most = float(most)
        self._limit = min(self._limit, self._most)

    def refused(self) -> None:
        """A call was refused, though fewer than `limit` were under way beside it."""
        self._limit = max(1.0, min(self._limit, self._running - 1.0))

    def answered(self) -> None:
        """A call was taken and has ended: after as many as there are at a time, one more is."""
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def _wake(self) -> None:
        free = self.limit - self._running
        while free > 0 and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1
