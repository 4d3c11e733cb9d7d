"""A clock that writes down when an activation is through with each of its phases."""

from __future__ import annotations

import time
from typing import Literal

from disdel.types.phases import Phases

Phase = Literal["imported", "data", "built", "loaded", "scored", "stepped", "computed", "stored"]


class PhaseClock:
    """Counts from its creation, which is the start of the activation."""

    def __init__(self) -> None:
        self._started_s = time.perf_counter()
        self._ended_ms: dict[str, int] = {}

    def ended(self, phase: Phase) -> None:
        """The phase ends now."""
        self._ended_ms[f"{phase}_ms"] = round((time.perf_counter() - self._started_s) * 1000)

    def phases(self) -> Phases:
        """What has ended so far."""
        return Phases(**self._ended_ms)
