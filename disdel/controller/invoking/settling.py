"""When the containers of a run's actions take their next activation.

OpenWhisk answers an activation first and collects its log then, and until that is done the
container takes no other (core/invoker ContainerProxy.scala). An activation that comes sooner starts
another container, which costs a cold start and memory that no plan has. So a call waits a moment
where all the containers that there are have only just answered, and goes at once where one of them
is free or another is needed anyway.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Action:
    """What is known of one action's containers: how many there are at least, and what they do."""

    containers: int = 0
    running: int = 0
    answered_s: list[float] = field(default_factory=list)


class Settling:
    """The containers of a run.

    Args:
        settle_s: how long a container may be busy after its answer.
        clock: seconds.
        sleep: waits so many of them.
    """

    def __init__(
        self,
        settle_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settle_s = settle_s
        self._clock = clock
        self._sleep = sleep
        self._actions: dict[str, _Action] = defaultdict(_Action)

    async def free(self, name: str) -> None:
        """Wait until a container of the action `name` is free, or a further one is needed."""
        action = self._actions[name]
        while True:
            now_s = self._clock()
            settling = [at_s for at_s in action.answered_s if at_s + self._settle_s > now_s]
            action.answered_s = settling
            if not settling or action.running + len(settling) < action.containers:
                return
            await self._sleep(settling[0] + self._settle_s - now_s)

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """While an activation of the action `name` runs."""
        action = self._actions[name]
        action.running += 1
        action.containers = max(action.containers, action.running)
        try:
            yield
        finally:
            action.running -= 1
            action.answered_s.append(self._clock())
