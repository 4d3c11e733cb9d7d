"""What training steps compute in where the user leaves it open.

Three conditions: accuracy that was shown to stay within 0.1 points over three seeds
(`experiments/precision`), a processor with bfloat16, and a trial on it that is clearly faster.
The first is decided here, before a run; the others in its first containers, unless an earlier run
has tried. The kept answer stays the same for a host and a network, so a job repeats bit for bit.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from disdel.planner.observations import Observation
from disdel.types import ModelSpec, Precision

# The built-in networks whose accuracy was measured in both.
_MEASURED = ("cnn", "mlp")
# Multiply-adds of a step below which there is nothing to win, and a trial would be a draw.
_LEAST_MULTIPLY_ADDS = 16_000_000


def open_precisions(
    model: ModelSpec, batch_size: int, able: Sequence[Precision], *, on_gpu: bool
) -> tuple[Precision, ...]:
    """The precisions between which a trial may choose; one where there is nothing to try.

    Args:
        model: the network.
        batch_size: samples of a step.
        able: what the runtime can compute in.
        on_gpu: whether a GPU is planned with.
    """
    heavy = batch_size * model.facts.multiply_adds >= _LEAST_MULTIPLY_ADDS
    known = model.code is None and model.name in _MEASURED and model.learns == "class"
    return tuple(able) if known and heavy and not on_gpu else ("float32",)


def tried_precision(
    observations: Sequence[Observation], model: str, batch_size: int
) -> Precision | None:
    """What earlier runs of a network have shown to be faster; None where none has tried.

    Args:
        observations: of a runtime on a platform, oldest first.
        model: the network's label.
        batch_size: samples of a step.
    """
    own = [o for o in observations if (o.model, o.batch_size) == (model, batch_size)]
    tried = [o.precision for o in own if o.tried]
    if not tried:
        return None
    steps: dict[Precision, list[float]] = {}
    for one in own:
        if one.step_s:
            steps.setdefault(one.precision, []).append(one.step_s)
    if len(steps) > 1:
        # Whole trainings in both say more than the trial did.
        return min(steps, key=lambda precision: statistics.median(steps[precision]))
    return tried[-1]
