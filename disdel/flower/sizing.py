"""How much memory a ClientApp's container gets: what it took before, or what loading it takes.

Nobody can tell from the code how much a step will take, so the first size is a measured one with
something to spare, and an activation that runs out of it runs again with more (`recovery`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from disdel.errors import InsufficientMemory, UsageError
from disdel.host import environment
from disdel.host.home import make_own
from disdel.planner.limits import MEMORY_STEP_MB
from disdel.types import Capacity, Limits

# To load an app that nothing is known of: two thirds of it are what TensorFlow takes.
FIRST_MB = 1024
# Beside what an app took when it was loaded, for its model, samples and steps;
_SPARE_LOADED = 1.5
# and beside the most that it has taken in earlier messages.
_SPARE_KNOWN = 1.2


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the sizes of a ClientApp's containers may be.

    Attributes:
        least_mb: the smallest, and
        most_mb: the largest that there is.
        pool_mb: the memory of all containers together; None where nothing bounds it.
        timeout_s: the longest time limit.
    """

    least_mb: int
    most_mb: int
    pool_mb: int | None
    timeout_s: float

    @classmethod
    def of(cls, capacity: Capacity, limits: Limits) -> Sizes:
        """What platform and user allow.

        Raises:
            InsufficientMemory: the user allows less than the platform's smallest.
        """
        pools = [mb for mb in (capacity.pool_memory_mb, limits.pool_memory_mb) if mb is not None]
        pool_mb = min(pools, default=None)
        bounds = (capacity.memory_max_mb, limits.memory_max_mb, pool_mb)
        most_mb = min(mb for mb in bounds if mb is not None)
        if most_mb < capacity.memory_min_mb:
            raise InsufficientMemory(
                f"containers may have {most_mb} MB, and the platform's smallest has "
                f"{capacity.memory_min_mb} MB: raise --memory-max or --pool-memory"
            )
        times = (capacity.timeout_max_s, limits.timeout_max_s)
        timeout_s = min(seconds for seconds in times if seconds is not None)
        return cls(capacity.memory_min_mb, most_mb, pool_mb, timeout_s)

    def fitting(self, memory_mb: float) -> int:
        """The nearest size that there is, in the planner's steps."""
        steps = math.ceil(memory_mb / MEMORY_STEP_MB) * MEMORY_STEP_MB
        return max(self.least_mb, min(self.most_mb, steps))

    def known(self, peak_mb: int) -> int:
        """The size for an app whose containers took so much before."""
        return self.fitting(peak_mb * _SPARE_KNOWN)

    def loaded(self, peak_mb: int) -> int:
        """The size for an app that took so much when it was loaded."""
        return self.fitting(peak_mb * _SPARE_LOADED)


@dataclass(frozen=True, slots=True)
class Start:
    """The memory of the first container, and why; whether it is measured once the app is loaded."""

    memory_mb: int
    basis: str
    measures: bool = False


def start_of(asked_mb: int | None, sizes: Sizes, peak_mb: int | None) -> Start:
    """How large the first container is.

    Args:
        asked_mb: what the user wants; None for what was measured.
        sizes: what it may be.
        peak_mb: what the app took in its last run; None where that is not known.

    Raises:
        UsageError: the user wants it larger than it may be, or smaller.
    """
    if asked_mb is not None:
        if not sizes.least_mb <= asked_mb <= sizes.most_mb:
            raise UsageError(
                f"--memory {asked_mb} MB is not between {sizes.least_mb} and {sizes.most_mb} MB, "
                "which containers may have"
            )
        return Start(asked_mb, "--memory")
    if peak_mb is not None:
        return Start(sizes.known(peak_mb), f"its last run here took {peak_mb} MB")
    return Start(sizes.fitting(FIRST_MB), "nothing is known of it", measures=True)


def read_peak(place: str | None, app: str) -> int | None:
    """The most MB that a container of this app took in its last run there; None where unknown."""
    try:
        kept = json.loads(_file(place, app).read_text(encoding="utf-8"))
        peak_mb = kept["peak_mb"]
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return None
    return peak_mb if type(peak_mb) is int and 0 < peak_mb < 2**31 else None


def keep_peak(place: str | None, app: str, peak_mb: int) -> None:
    """Keep it for the next run; one that cannot be kept ends no run."""
    file = _file(place, app)
    with contextlib.suppress(OSError):
        make_own(file.parent)
        file.write_text(json.dumps({"app": app, "peak_mb": peak_mb}), encoding="utf-8")


def _file(place: str | None, app: str) -> Path:
    """`place` is the address of the platform; None for what is remembered of this machine."""
    digest = hashlib.blake2b(f"{place} {app}".encode(), digest_size=8).hexdigest()
    return environment.state_dir() / "history" / f"flower-{digest}.json"
