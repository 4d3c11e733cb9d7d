"""What becomes of updates that come when their round is over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from disdel.errors import UsageError
from disdel.types.named import parameters_said, read_named, usage
from disdel.types.setting import Setting

DROP = "drop"
_WEIGH = "weigh"


@dataclass(frozen=True, slots=True)
class Lateness:
    """Late updates go into a later round, and weigh less.

    Attributes:
        power: an update of s rounds ago has (1 + s)^-power of its weight.
        max_staleness: what is of more rounds ago is dropped; None for nothing.
    """

    power: Annotated[float, Setting("How fast late updates lose weight.", low=0, high=100)] = 0.5
    max_staleness: Annotated[
        int | None,
        Setting("Rounds ago beyond which an update is dropped.", low=1, high=100_000),
    ] = None

    def freshness(self, staleness: int) -> float:
        """What is left of the weight of an update of so many rounds ago."""
        return float((1 + staleness) ** -self.power)


def read_lateness(text: str) -> Lateness | None:
    """What `--late` asks for; None where late updates are dropped.

    Raises:
        UsageError: it is none of the two, or a parameter is unknown or out of range.
    """
    named = read_named(text)
    if text == DROP:
        return None
    if named.name != _WEIGH:
        raise UsageError(f"--late must be {DROP} or {usage(_WEIGH, Lateness)}, not {text!r}")
    return Lateness(**parameters_said(named, Lateness, "--late"))
