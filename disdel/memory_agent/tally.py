"""A log that cannot be flooded."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable


class Tally:
    """Tells the first message of a kind that is ignored, and how many more there were.

    Args:
        tell: gets the lines.
        interval_s: at most one line in this time beside the first of a kind.
    """

    def __init__(
        self,
        tell: Callable[[str], None],
        interval_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._interval_s = interval_s
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._known: set[str] = set()
        self._told_s = clock()
        self.total = 0

    def count(self, kind: str) -> None:
        """One more of `kind`, of which there are few."""
        with self._lock:
            self.total += 1
            first = kind not in self._known
            self._known.add(kind)
            if not first:
                self._counts[kind] += 1
        if first:
            self._tell(f"ignored a message: {kind}")

    def report(self) -> None:
        """Tell what has been counted since the last time, if that is long enough ago."""
        with self._lock:
            if not self._counts or self._clock() - self._told_s < self._interval_s:
                return
            counts, self._counts = self._counts, Counter()
            self._told_s = self._clock()
        kinds = "; ".join(f"{number} × {kind}" for kind, number in counts.most_common())
        self._tell(f"ignored {counts.total()} more messages: {kinds}")
