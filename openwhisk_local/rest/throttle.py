"""How many invocations a namespace may begin in a minute, and have in flight."""

from __future__ import annotations

from openwhisk_local.limits import PlatformLimits
from openwhisk_local.replies import too_many_concurrent, too_many_per_minute


class _Minute:
    """Counts attempts by calendar minute; every attempt counts, refused ones too."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._minute = 0
        self._attempts = 0
        self.refused = 0

    def attempt(self, now_s: float) -> None:
        minute = int(now_s // 60)
        if minute != self._minute:
            self._minute, self._attempts = minute, 0
        self._attempts += 1
        if self._attempts > self._allowed:
            self.refused += 1
            raise too_many_per_minute(self._attempts, self._allowed)


class Throttle:
    """Refuses with `ApiError` 429 what is one too many."""

    def __init__(self, limits: PlatformLimits) -> None:
        self._invokes = _Minute(limits.invokes_per_minute)
        self._fires = _Minute(limits.invokes_per_minute)
        self._allowed = limits.concurrent_invokes
        self._in_flight = 0
        self.refused_at_once = 0

    @property
    def refused_per_minute(self) -> int:
        return self._invokes.refused + self._fires.refused

    def attempt(self, now_s: float) -> None:
        """Count an attempt to invoke an action.

        Raises:
            ApiError: there are too many, in this minute or at once (429).
        """
        self._invokes.attempt(now_s)
        if self._in_flight >= self._allowed:
            self.refused_at_once += 1
            raise too_many_concurrent(self._in_flight, self._allowed)

    def attempt_fire(self, now_s: float) -> None:
        """Count an attempt to fire a trigger."""
        self._fires.attempt(now_s)

    def begin(self) -> None:
        """An activation is accepted; it is in flight until `end`."""
        self._in_flight += 1

    def end(self) -> None:
        self._in_flight -= 1
