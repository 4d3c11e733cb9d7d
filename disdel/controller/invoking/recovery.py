"""What to try after an activation that was lost: pure decisions.

A killed or vanished activation has left the state that it started from in the store, so its segment
can run again: with more memory where it ran out, in smaller pieces where time or memory cannot be
raised any further, and as it was where nothing says why it vanished; with more memory too, where
that happens again or before the action runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from disdel.errors import ActivationFailed
from disdel.planner.limits import MEMORY_STEP_MB
from disdel.planner.memory import BLOCK_STEPS

# A segment that was lost this often in a row is not unlucky.
MAX_LOSSES = 5
GROWTH = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How a segment is run.

    Attributes:
        memory_mb: the limit of the action.
        micro_batches: parts that a batch is cut into; their gradients are added up, so the update
            is the batch's.
        block_steps: steps between two looks at the deadline and at memory.
        heed_memory: stop, with the work saved, when memory is nearly used up.
        longest: with the longest time limit that there is, and not the one that was planned.
        losses: activations of this segment that were lost before.
    """

    memory_mb: int
    micro_batches: int = 1
    block_steps: int = BLOCK_STEPS
    heed_memory: bool = True
    longest: bool = False
    losses: int = 0


def after_loss(
    last: Attempt, failure: ActivationFailed, *, ceiling_mb: int, batch_size: int
) -> Attempt | None:
    """The next attempt, or None when there is none that could end differently.

    Args:
        last: what was lost.
        failure: how.
        ceiling_mb: the most memory that an action can have now.
        batch_size: samples of a step: a batch has at most so many parts.
    """
    if not failure.lost or last.losses + 1 >= MAX_LOSSES:
        return None
    lost_once_more = replace(last, losses=last.losses + 1)
    if failure.outcome == "oom":
        return with_less_pressure(lost_once_more, ceiling_mb=ceiling_mb, batch_size=batch_size)
    if failure.outcome == "timeout":
        longest = replace(lost_once_more, longest=True)
        if failure.in_init:
            # Smaller blocks start no sooner.
            return None if last.longest else longest
        if last.block_steps == 1:
            return None
        return replace(longest, block_steps=max(1, last.block_steps // 4))
    if failure.unexplained and (failure.in_init or last.losses):
        # Where only the action's process is killed for memory, nobody says so; and one that was
        # not has been run again as it was.
        return _with_more_memory(lost_once_more, ceiling_mb=ceiling_mb) or lost_once_more
    return lost_once_more


def after_warning(last: Attempt, *, ceiling_mb: int, batch_size: int) -> Attempt:
    """How to go on after a segment that stopped, with its work saved, for lack of memory.

    Where nothing relieves the pressure, the work goes on until the kernel objects.
    """
    relieved = with_less_pressure(last, ceiling_mb=ceiling_mb, batch_size=batch_size)
    return relieved or replace(last, heed_memory=False)


def with_less_pressure(last: Attempt, *, ceiling_mb: int, batch_size: int) -> Attempt | None:
    """The same work with more memory, or, at the ceiling, in smaller batches; None at the end."""
    larger = _with_more_memory(last, ceiling_mb=ceiling_mb)
    if larger is not None:
        return larger
    if last.micro_batches >= batch_size:
        return None
    return replace(
        last,
        micro_batches=min(batch_size, last.micro_batches * 2),
        block_steps=max(1, last.block_steps // 2),
    )


def _with_more_memory(last: Attempt, *, ceiling_mb: int) -> Attempt | None:
    if last.memory_mb >= ceiling_mb:
        return None
    wanted = int(last.memory_mb * GROWTH) // MEMORY_STEP_MB * MEMORY_STEP_MB
    return replace(last, memory_mb=min(ceiling_mb, max(wanted, last.memory_mb + MEMORY_STEP_MB)))
