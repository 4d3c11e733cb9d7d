"""How many invocations a namespace may begin in a minute, and have in flight."""

from __future__ import annotations

from disdel.embedded.limits import PlatformLimits
from disdel.embedded.replies import too_many_concurrent, too_many_per_minute


class Throttle:
    """Counts as OpenWhisk does: attempts by calendar minute, activations until they are done."""

    def __init__(self, limits: PlatformLimits) -> None:
        self._limits = limits
        self._minute = 0
        self._attempts = 0
        self._in_flight = 0

    def attempt(self, now_s: float) -> None:
        """Count an attempt; raises `ApiError` 429 when it is one too many."""
        minute = int(now_s // 60)
        if minute != self._minute:
            self._minute, self._attempts = minute, 0
        self._attempts += 1
        if self._attempts > self._limits.invokes_per_minute:
            raise too_many_per_minute(self._attempts, self._limits.invokes_per_minute)
        if self._in_flight >= self._limits.concurrent_invokes:
            raise too_many_concurrent(self._in_flight, self._limits.concurrent_invokes)

    def begin(self) -> None:
        self._in_flight += 1

    def end(self) -> None:
        self._in_flight -= 1
