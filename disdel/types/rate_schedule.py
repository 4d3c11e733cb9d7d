"""How the learning rate changes: apart from the other settings, since a train action reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from disdel.errors import UsageError
from disdel.types.checks import take_fields
from disdel.types.names import RateScale, RateShape
from disdel.types.setting import Setting

ROUNDS = "Rounds"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSchedule:
    """How the learning rate changes over a run (`runtimes/rates.py` has the formulas).

    Attributes:
        shape: how it falls after the warm-up.
        warmup: steps of a worker during which it rises; below 1, a share of all its steps.
        scale: how all of it grows with the updates that are averaged: one a client.

    Raises:
        UsageError: a value is of another type or out of range.
    """

    shape: Annotated[
        RateShape,
        Setting(
            "How the learning rate falls after the warm-up, to 0 at the end.",
            name="schedule",
            group=ROUNDS,
        ),
    ] = "constant"
    warmup: Annotated[
        float,
        Setting(
            "How long the learning rate rises at first: steps, or below 1 a share of the run.",
            metavar="STEPS|FRACTION",
            group=ROUNDS,
        ),
    ] = 0.0
    scale: Annotated[
        RateScale,
        Setting(
            "How the learning rate grows with the number of workers, or of clients.",
            name="scale_rate",
            group=ROUNDS,
        ),
    ] = "none"

    def __post_init__(self) -> None:
        take_fields(self)
        if not (0 <= self.warmup < 1 or (1 <= self.warmup < 2**31 and self.warmup % 1 == 0)):
            raise UsageError(
                "--warmup must be a whole number of steps, or below 1 a share of all, not "
                f"{self.warmup:g}"
            )
