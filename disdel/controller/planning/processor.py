"""How fast this machine's processor is beside the one that the shipped speeds were measured on.

They are from one machine, and others are half or twice as fast, also of the same name. Where
actions have this machine's processor, 0.06 s of products and of passes over elements say how they
scale, until a run has measured steps themselves. What was found is kept for the processor, so that
plans of one host do not change from run to run.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from disdel.controller.planning.history import processor_name
from disdel.host import environment
from disdel.host.home import make_own
from disdel.platforms.registry import chosen
from disdel.settings import Settings

# A training step of the default network in batches of 64, roughly: so many operations in products,
# and bytes that pass an element at a time.
_STEP_FLOP, _STEP_BYTES = 340e6, 60e6
# What they took where the shipped speeds of steps hold, at 106 GFLOP/s and 21.6 GB/s, and what the
# passes alone would take where the shipped starts do (docs/measurements.md).
_SHIPPED_STEP_S, _SHIPPED_PASSES_S = 5.98e-3, 4.19e-3
# Products of this size are packed before they are computed, as those of steps are: smaller ones do
# not show how wide a processor's arithmetic is. Passes have as many elements as a convolution's
# output.
_SIDE, _PASSED = 256, 1_400_000
_SPENT_S = 0.03


@dataclass(frozen=True, slots=True)
class Slowness:
    """How many times as long something takes as by the shipped constants.

    Attributes:
        steps: training steps, which are products and passes.
        rest: what runs mostly one instruction after another, as imports and tracing do.
    """

    steps: float = 1.0
    rest: float = 1.0


def slowness(settings: Settings) -> Slowness:
    """That of the processor that actions have; 1 where nobody can know."""
    if not chosen(settings).traits.host_packages:
        return Slowness()
    path = environment.state_dir() / "processor.json"
    asked = [processor_name(), os.cpu_count()]
    kept = _read(path, asked)
    if kept is not None:
        return kept
    products_s, passes_s = step_parts_s()
    found = Slowness(
        round((products_s + passes_s) / _SHIPPED_STEP_S, 3),
        round(passes_s / _SHIPPED_PASSES_S, 3),
    )
    try:
        make_own(path.parent)
        path.write_text(json.dumps({"processor": asked, **asdict(found)}), encoding="utf-8")
    except OSError:
        pass  # the next plan measures again
    return found


def step_parts_s() -> tuple[float, float]:
    """CPU seconds of what a training step consists of, on one thread: products, and passes."""
    from threadpoolctl import threadpool_limits

    square = np.ones((_SIDE, _SIDE), np.float32)
    product = np.empty_like(square)
    passed = np.linspace(-1, 1, _PASSED, dtype=np.float32)
    # Copied, so that its pages are there.
    rectified = passed.copy()
    with threadpool_limits(1, user_api="blas"):
        flop_s = _least_s(lambda: np.matmul(square, square, out=product)) / (2 * _SIDE**3)
    # With one number for all elements, numpy takes them one by one: that is as fast as a core
    # executes instructions, whether they come from a cache or from memory.
    byte_s = _least_s(lambda: np.maximum(passed, 0, out=rectified)) / (2 * passed.nbytes)
    return _STEP_FLOP * flop_s, _STEP_BYTES * byte_s


def _least_s(work: Callable[[], object]) -> float:
    """CPU seconds of the fastest call: neighbours on the machine make others slower."""
    least_s, until_s = math.inf, time.thread_time() + _SPENT_S
    while time.thread_time() < until_s:
        began_s = time.thread_time()
        work()
        least_s = min(least_s, time.thread_time() - began_s)
    return least_s


def _read(path: Path, asked: list[str | int | None]) -> Slowness | None:
    """What was kept for this processor; None where that is nothing, or no numbers."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["processor"] != asked:
            return None
        found = Slowness(float(kept["steps"]), float(kept["rest"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if all(0 < value < math.inf for value in (found.steps, found.rest)) else None
