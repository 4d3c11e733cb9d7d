"""How long training steps take of a network that is tried out, for the first plan of it.

What counts is the CPU time of one thread: how long a step takes beside others who compute, such as
the containers that get ready meanwhile, says nothing of it.
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np

from disdel.types.arrays import Array
from disdel.types.specs import TriedSteps

# So long are steps repeated; so many are a block of a training at most, and take so many bytes.
_SPENT_S = 0.1
_BLOCK_STEPS = 32
_BLOCK_BYTES = 64 << 20
# No step takes less.
_TICK_S = 1e-6


class TakesSteps(Protocol):
    """What a `Trainer` is here."""

    def train(self, x: Array, y: Array) -> object:
        """Take the steps of a block: samples (steps, batch, …), and their labels likewise."""


class FirstStep:
    """The first step of a trainer, which has one thread.

    Args:
        trainer: takes it.
        x: a batch, as stored.
        y: its labels.
    """

    def __init__(self, trainer: TakesSteps, x: Array, y: Array) -> None:
        self._trainer, self._x, self._y = trainer, x, y
        self._first_s = self._spent_s(1)

    def followed(self) -> TriedSteps:
        """What this step took, and those that follow it, which are taken now.

        Raises:
            Exception: whatever the network raises.
        """
        step_s = max(_TICK_S, self._spent_s(1))
        fit = _BLOCK_BYTES // max(1, self._x.nbytes)
        steps = min(_BLOCK_STEPS, fit, int(_SPENT_S / step_s))
        if steps > 1:
            step_s = max(_TICK_S, self._spent_s(steps) / steps)
        return TriedSteps(
            batch_size=len(self._x), step_s=step_s, trace_s=max(0.0, self._first_s - step_s)
        )

    def _spent_s(self, steps: int) -> float:
        x, y = (np.repeat(part[np.newaxis], steps, 0) for part in (self._x, self._y))
        began_s = time.process_time()
        self._trainer.train(x, y)
        return time.process_time() - began_s
