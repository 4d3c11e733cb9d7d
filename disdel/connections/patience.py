"""How long a server that fails is asked again: one engine for all that is retried.

What asks a server tells failures that pass by themselves (a connection refused or cut, an answer
that got lost, a server that is starting or busy) from final ones. Of the former it asks here how
long to wait before its next try, until patience is at its end:

    tries = patience.tries()
    while True:
        try:
            answer = ask()
        except Passing as failure:
            if not tries.wait(str(failure)):
                raise
        else:
            tries.succeeded()
            return answer
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
# An outage that is shorter is nothing to speak of.
_TELL_AFTER_S = 1.0
# What is left where somebody waits for the end.
_HURRIED_S = 3.0

Tell = Callable[[str], None]


def tell_nobody(sentence: str) -> None:
    """Where nobody is to be told of outages."""


def _never() -> bool:
    return False


@dataclass(slots=True, eq=False)
class Patience:
    """With one server, for all requests to it. Threads may share it.

    Attributes:
        server: how sentences call it: "Redis at redis://…".
        limit_s: how long after its first failure a request is tried again.
        deadline_s: when trying must end in any case, by `clock`.
        tell: told when an outage lasts, with what is waited for and how long at most, and when it
            is over.
    """

    server: str
    limit_s: float
    deadline_s: float = math.inf
    tell: Tell = tell_nobody
    clock: Callable[[], float] = time.monotonic
    has_ended: Callable[[], bool] = _never
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _hurried: threading.Event = field(default_factory=threading.Event)
    _outage_told: bool = False

    def tries(self) -> Tries:
        """For one request."""
        return Tries(self)

    def hurry(self) -> None:
        """Have little patience from now on, also with requests that are waiting."""
        self.limit_s = min(self.limit_s, _HURRIED_S)
        self._hurried.set()

    def outage(self, why: str, limit_s: float) -> None:
        """Tell of an outage, once."""
        with self._lock:
            told, self._outage_told = self._outage_told, True
        if not told:
            self.tell(f"{self.server}: {why}; trying again for up to {round(limit_s, 1):g} s")

    def over(self, lasted_s: float) -> None:
        """Tell that an outage is over, if it was told of."""
        with self._lock:
            told, self._outage_told = self._outage_told, False
        if told:
            self.tell(f"{self.server} answers again, after {lasted_s:.0f} s")

    def sleep(self, seconds: float) -> None:
        """Block, not longer than there is patience."""
        if self._hurried.is_set():
            time.sleep(min(seconds, _HURRIED_S))
        else:
            self._hurried.wait(seconds)


@dataclass(slots=True, eq=False)
class Tries:
    """The tries of one request."""

    patience: Patience
    _asked_s: float = field(init=False)
    _began_s: float | None = None
    _pause_s: float = _FIRST_PAUSE_S

    def __post_init__(self) -> None:
        self._asked_s = self.patience.clock()

    @property
    def lasted_s(self) -> float:
        """How long ago the first try failed."""
        return 0.0 if self._began_s is None else self.patience.clock() - self._began_s

    def wait(self, why: str, *, at_least_s: float = 0.0, limit_s: float = math.inf) -> bool:
        """Block until the next try; at once false where there is none.

        Args:
            why: what the last try ended with.
            at_least_s: what the server asks for.
            limit_s: how long to try after such a failure, if that is less than there is patience;
                from the first try's beginning, which may be what took long.
        """
        pause_s = self.pause_s(why, at_least_s=at_least_s, limit_s=limit_s)
        if pause_s is None:
            return False
        self.patience.sleep(pause_s)
        return True

    async def pause(self, why: str, *, at_least_s: float = 0.0, limit_s: float = math.inf) -> bool:
        """`wait` for coroutines."""
        pause_s = self.pause_s(why, at_least_s=at_least_s, limit_s=limit_s)
        if pause_s is None:
            return False
        await asyncio.sleep(pause_s)
        return True

    def pause_s(
        self, why: str, *, at_least_s: float = 0.0, limit_s: float = math.inf
    ) -> float | None:
        """How long to wait before the next try; None where patience is at its end."""
        now_s = self.patience.clock()
        if self._began_s is None:
            self._began_s = now_s
        if self.patience.has_ended():
            return None
        # Clients that were cut off together do not come back together.
        pause_s = max(at_least_s, self._pause_s * random.uniform(0.5, 1.0))
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        end_s = min(
            self._began_s + self.patience.limit_s,
            self._asked_s + limit_s,
            self.patience.deadline_s,
        )
        if now_s >= end_s or (at_least_s and now_s + at_least_s > end_s):
            return None
        # The last try is at the end itself.
        pause_s = min(pause_s, end_s - now_s)
        if now_s + pause_s - self._began_s >= _TELL_AFTER_S:
            self.patience.outage(why, end_s - self._began_s)
        return pause_s

    def succeeded(self) -> None:
        """The request was answered."""
        if self._began_s is not None:
            self.patience.over(self.lasted_s)
