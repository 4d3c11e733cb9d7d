"""Speculative copies: a worker that takes far longer than the others is run a second time.

The first of the two activations to end well counts (Dean and Ghemawat, 2004, MapReduce, section
3.6: backup tasks).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from disdel.controller.invoking.background import background

# A worker is late when it takes this many times as long as the median of those that are done, and
# at least so much longer: a copy costs a container.
LATE_FACTOR = 2.0
LATE_MARGIN_S = 5.0
_WATCH_INTERVAL_S = 0.5

T = TypeVar("T")


@dataclass(slots=True)
class RoundClock:
    """How long the workers of a round took that are done."""

    clock: Callable[[], float] = time.monotonic
    started_s: float = 0.0
    _finished_s: list[float] = field(default_factory=list)
    _finished_steps: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    def worker_done(self, steps: int) -> None:
        """A worker has taken its steps of the round."""
        self._finished_s.append(self.clock() - self.started_s)
        self._finished_steps.append(steps)

    def is_late(self, steps: int) -> bool:
        """Whether a worker that still runs, for `steps` steps, takes far longer than others did.

        One that has more to do than they had is given so much more time.
        """
        if not self._finished_s:
            return False
        more = max(1.0, steps / statistics.median(self._finished_steps))
        median_s = more * statistics.median(self._finished_s)
        limit_s = max(LATE_FACTOR * median_s, median_s + LATE_MARGIN_S)
        return self.clock() - self.started_s > limit_s


@dataclass(slots=True)
class Speculation(Generic[T]):
    """Runs activations with at most one copy each, and remembers those that were overtaken."""

    _overtaken: set[asyncio.Task[T]] = field(default_factory=set)

    async def first(
        self, start: Callable[[], Coroutine[Any, Any, T]], wanted: Callable[[], bool]
    ) -> T:
        """What the first of an activation and its copy to end well has answered.

        Args:
            start: begins an activation.
            wanted: whether a copy is; asked a few times a second until there is one.
        """
        running = {background(start())}
        copied = False
        try:
            while True:
                done, _ = await asyncio.wait(
                    running, timeout=_WATCH_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    running.discard(task)
                    if task.exception() is None or not running:
                        # Killed, it may be the very reason why its copy was needed: its end counts.
                        self._overtaken |= running
                        return task.result()
                if len(running) == 1 and not copied and wanted():
                    copied = True
                    running.add(background(start()))
        except BaseException:
            await _cancel(running)
            raise

    async def finish(self) -> int:
        """Wait no more for activations whose copies were faster; how many had not ended."""
        unheard = {task for task in self._overtaken if not task.done()}
        await _cancel(unheard)
        return len(unheard)


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
