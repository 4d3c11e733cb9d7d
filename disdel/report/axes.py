"""Axes of a report's charts: values to pixels, round numbers along them, and their frame.

No markup is made here or in the charts, so that nothing of a report reaches a page but through the
template, which escapes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WIDTH = 1120.0
LABELS_WIDTH = 110.0
MARGIN = 14.0
AXIS_HEIGHT = 40.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear axis: values `low` to `high` onto pixels `low_px` to `high_px`, cut at both ends."""

    low: float
    high: float
    low_px: float
    high_px: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.low_px + min(1.0, max(0.0, share)) * (self.high_px - self.low_px), 2)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from `low` to `high`, about so many."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a chart's axes are, in a picture of `width` by `height` pixels."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def frame(across: Scale, up: Scale, x_ticks: tuple[Tick, ...], y_ticks: tuple[Tick, ...]) -> Frame:
    """The frame around two axes, with room for what is written along them."""
    return Frame(
        width=across.high_px + MARGIN,
        height=up.low_px + AXIS_HEIGHT,
        left=across.low_px,
        right=across.high_px,
        top=up.high_px,
        bottom=up.low_px,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
    )
