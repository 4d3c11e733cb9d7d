"""How many calls are sent at once: fewer after a throttle, more after what goes well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Lets so many through at once, and adapts to what the other side takes.

    Args:
        most: at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.allowed = float(most)
        self._running = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Inside, this call is one of those that run."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._running < max(1, int(self.allowed)))
            self._running += 1
        try:
            yield
        finally:
            # Who leaves does not wait: a cancelled call leaves as well.
            self._running -= 1
            asyncio.ensure_future(self._tell())  # noqa: RUF006 - it only wakes others

    def throttled(self) -> None:
        """The other side took one call too many."""
        self.allowed = max(1.0, min(self.allowed, float(self._running)) / 2)

    def went_well(self) -> None:
        self.allowed = min(float(self._most), self.allowed + 1 / max(1.0, self.allowed))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
