"""The learning rate at each step: a pure function of the step's number.

A client's steps are numbered through all rounds and segments, so a rate that depends on the number
alone goes on where it was, wherever the work was cut. It is a factor on the optimizer's own rate:
only the framework knows that.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from disdel.types.names import RateScale
from disdel.types.rate_schedule import RateSchedule

Factors = npt.NDArray[np.float32]

# Of SGD where nobody says another, on every runtime.
SGD_RATE = 0.01

_SCALES: dict[RateScale, Callable[[int], float]] = {
    "none": lambda _: 1.0,
    "sqrt": math.sqrt,
    "linear": float,
}


def rate_factors(
    schedule: RateSchedule, start: int, stop: int, total: int, *, clients: int = 1
) -> Factors:
    """What the learning rate is multiplied by at steps `start` to `stop`, (steps,) float32.

    It rises in equal steps to 1 at the last step of the warm-up, and from there falls towards 0
    behind the last step of all: as a line, as half a period of a cosine (Loshchilov and Hutter,
    2017, https://arxiv.org/abs/1608.03983, equation 5), or not at all. All of it is multiplied by
    the clients (Goyal et al., 2017, https://arxiv.org/abs/1706.02677, section 2.1), by their square
    root (Krizhevsky, 2014, https://arxiv.org/abs/1404.5997, section 5), or not.

    Args:
        schedule: its shape, and how long it warms up.
        start: the first step, from 0.
        stop: one past the last.
        total: the client's steps from the first round to the last.
        clients: how many updates a round averages.
    """
    warmup = _warmup_steps(schedule.warmup, total)
    steps = np.arange(start, stop, dtype=np.float64)
    done = np.clip((steps - warmup) / max(1, total - warmup), 0.0, 1.0)
    match schedule.shape:
        case "constant":
            factors = np.ones_like(steps)
        case "cosine":
            factors = (1 + np.cos(np.pi * done)) / 2
        case "linear":
            factors = 1 - done
    rising = steps < warmup
    factors[rising] = (steps[rising] + 1) / warmup
    return (factors * _SCALES[schedule.scale](clients)).astype(np.float32)


def _warmup_steps(warmup: float, total: int) -> int:
    """A number of steps, or below 1 a share of all."""
    return math.ceil(warmup * total) if warmup < 1 else int(warmup)
