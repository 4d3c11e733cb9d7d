"""How fast this machine's processor is beside the one that the shipped speeds were measured on.

They are from one machine, and others are half or twice as fast. Where actions have this machine's
processor, a tenth of a second of products and passes over memory says how they scale, until a run
has measured steps themselves. What was found is kept for the processor, so that plans of one host
do not change from run to run.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from disdel.controller.planning.history import processor_name
from disdel.host import environment
from disdel.host.home import make_own
from disdel.platforms.registry import chosen
from disdel.settings import Settings

# A training step of the default network in batches of 64, roughly: so many operations in products
# and bytes that pass through memory.
_STEP_FLOP, _STEP_BYTES = 340e6, 60e6
# What they took where the shipped speeds hold; steps there took 1.8 times as long as where this was
# written, at 99 GFLOP/s and 26.5 GB/s (docs/measurements.md).
_SHIPPED_S = 10.3e-3
# Products so small are computed by one thread, and passes of this size leave the inner caches.
_SIDE, _PASSED = 64, 1_400_000
_SPENT_S = 0.03
_PRODUCTS = 100


def slowness(settings: Settings) -> float:
    """How many times as long steps take as the shipped speeds say; 1 where nobody can know."""
    if not chosen(settings).traits.host_packages:
        return 1.0
    path = environment.state_dir() / "processor.json"
    asked = [processor_name(), os.cpu_count()]
    kept = _read(path, asked)
    if kept is not None:
        return kept
    found = round(step_like_s() / _SHIPPED_S, 3)
    try:
        make_own(path.parent)
        path.write_text(json.dumps({"processor": asked, "slowness": found}), encoding="utf-8")
    except OSError:
        pass  # the next plan measures again
    return found


def step_like_s() -> float:
    """CPU seconds of what a training step consists of, on one thread."""
    square = np.ones((_SIDE, _SIDE), np.float32)
    product = np.empty_like(square)
    passed = np.linspace(-1, 1, _PASSED, dtype=np.float32)
    # Copied, so that its pages are there.
    rectified = passed.copy()

    def multiply() -> None:
        for _ in range(_PRODUCTS):
            np.matmul(square, square, out=product)

    flop_s = _least_s(multiply) / (_PRODUCTS * 2 * _SIDE**3)
    byte_s = _least_s(lambda: np.maximum(passed, 0, out=rectified)) / (2 * passed.nbytes)
    return _STEP_FLOP * flop_s + _STEP_BYTES * byte_s


def _least_s(work: Callable[[], object]) -> float:
    """CPU seconds of the fastest call: neighbours on the machine make others slower."""
    least_s, until_s = math.inf, time.process_time() + _SPENT_S
    while time.process_time() < until_s:
        began_s = time.process_time()
        work()
        least_s = min(least_s, time.process_time() - began_s)
    return least_s


def _read(path: Path, asked: list[str | int | None]) -> float | None:
    """What was kept for this processor; None where that is nothing, or no number."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = float(kept["slowness"]) if kept["processor"] == asked else 0.0
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if 0 < found < math.inf else None
