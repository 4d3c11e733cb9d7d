"""A client's steps, block by block, up to where a limit comes near."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from disdel.errors import TrainingDiverged
from disdel.runtimes.base import Trainer
from disdel.runtimes.rates import Factors
from disdel.runtimes.schedule import Schedule
from disdel.types.phases import STORE_MARGIN_S
from disdel.worker.context import Context, Throttle
from disdel.worker.shards import Samples

Ending = Literal["ok", "continued-time", "continued-memory"]

# A look at memory takes as long as a step of a small network: blocks may be shorter than this.
_LOOK_INTERVAL_S = 0.1


@dataclass(slots=True, kw_only=True)
class Pace:
    """How an activation takes its steps.

    Attributes:
        micro_batches: parts that a batch is cut into.
        block_steps: steps between two looks at the limits.
        heed_memory: whether memory is one of them.
        slowest_s: the longest block so far; before there was one, no limit is looked at, so that
            every activation brings the run forward.
    """

    micro_batches: int
    block_steps: int
    heed_memory: bool
    slowest_s: float = 0.0
    _looked: Throttle = field(default_factory=lambda: Throttle(_LOOK_INTERVAL_S))

    def limit_reached(self, context: Context) -> Ending | None:
        """Why an activation must stop before another block; None where it need not."""
        if not self.slowest_s:
            return None
        if context.remaining_s() < 2 * self.slowest_s + STORE_MARGIN_S:
            return "continued-time"
        if self.heed_memory and self._looked.due() and context.short_of_memory():
            return "continued-memory"
        return None


@dataclass(frozen=True, slots=True)
class Taken:
    """How some steps ended, the step reached, and the loss summed over the samples on the way."""

    ending: Ending
    reached: int
    loss_sum: float


def take_steps(
    start: int,
    stop: int,
    *,
    context: Context,
    trainer: Trainer,
    samples: Samples,
    schedule: Schedule,
    pace: Pace,
    factors: Callable[[int, int], Factors],
    where: str,
    before_block: Callable[[], None],
    after_block: Callable[[int, float], None],
) -> Taken:
    """Train steps `start` to `stop` of a client's sequence.

    Args:
        start: the first step.
        stop: one past the last.
        context: the activation's.
        trainer: in the state to begin with.
        samples: the client's.
        schedule: the client's.
        pace: of the activation.
        factors: of the learning rate, from one step to another.
        where: the steps are taken, for a message.
        before_block: may raise, where nobody waits for the steps any more.
        after_block: is told the step after a block, and its mean loss.

    Raises:
        TrainingDiverged: the loss is infinite or not a number.
    """
    reached, loss_sum = start, 0.0
    for step, positions in schedule.blocks(start, stop, pace.block_steps):
        before_block()
        if (limit := pace.limit_reached(context)) is not None:
            return Taken(limit, reached, loss_sum)
        began_s = time.perf_counter()
        first = step - len(positions)
        loss = trainer.train(
            samples.x[positions],
            samples.y[positions],
            pace.micro_batches,
            factors(first, step),
            schedule.seeds(first, step) if trainer.takes_seeds else None,
        )
        if not pace.slowest_s:
            context.clock.ended("stepped")
        pace.slowest_s = max(pace.slowest_s, time.perf_counter() - began_s)
        if not np.isfinite(loss):
            raise TrainingDiverged(f"the loss became {loss} in {where}, step {step}")
        reached, loss_sum = step, loss_sum + loss
        after_block(step, loss / positions.size)
    return Taken("ok", reached, loss_sum)
