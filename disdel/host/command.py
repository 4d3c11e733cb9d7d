"""When the command that this process is for began: what a user waits for counts from there."""

from __future__ import annotations

import time

_began_s: float | None = None


def begin() -> None:
    """Begin the command; before anything that takes time is imported."""
    global _began_s
    _began_s = time.monotonic()


def began_s() -> float:
    """When it began, by `time.monotonic`; now, in a process that is for no command."""
    return time.monotonic() if _began_s is None else _began_s
