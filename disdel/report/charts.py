"""Geometry of a report's charts over rounds and over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from disdel.report.axes import LABELS_WIDTH, MARGIN, WIDTH, Frame, Scale, Tick, frame, ticks
from disdel.types import Activation


@dataclass(frozen=True, slots=True)
class Line:
    """A series of a chart; `dashed` and `name` tell it from others without its colour."""

    name: str
    colour: str
    dashed: bool
    points: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        return " ".join(f"{x:g},{y:g}" for x, y in self.points)


@dataclass(frozen=True, slots=True)
class LineChart:
    """Series over the rounds."""

    title: str
    frame: Frame
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """Values by round; None and what is not finite is left out."""

    name: str
    colour: str
    dashed: bool
    values: Sequence[tuple[int, float | None]]


def line_chart(
    title: str, series: Sequence[Series], *, label: Callable[[float], str]
) -> LineChart | None:
    """A chart of the series; None where there is nothing to draw."""
    kept = [
        (one, [(x, y) for x, y in one.values if y is not None and math.isfinite(y)])
        for one in series
    ]
    points = [point for _, values in kept for point in values]
    if not points:
        return None
    rounds, values = [x for x, _ in points], [y for _, y in points]
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or max(abs(high) * 0.02, 1e-6)
    across = Scale(min(rounds) - 0.3, max(rounds) + 0.3, 58.0, 540.0 - MARGIN)
    up = Scale(low - margin, high + margin, 196.0, 46.0)  # Title and names are above.
    whole = [value for value in ticks(min(rounds), max(rounds), 10) if value == int(value)]
    return LineChart(
        title=title,
        frame=frame(
            across,
            up,
            tuple(Tick(across(value), f"{value:g}") for value in whole),
            tuple(Tick(up(v), label(v)) for v in ticks(low - margin, high + margin, 5)),
        ),
        lines=tuple(
            Line(one.name, one.colour, one.dashed, tuple((across(x), up(y)) for x, y in values))
            for one, values in kept
        ),
    )


@dataclass(frozen=True, slots=True)
class MemoryMark:
    """One activation's memory: `x` to `end` is its time; None where it was not measured."""

    x: float
    end: float
    limit: float
    working_set: float | None
    peak: float | None
    title: str


@dataclass(frozen=True, slots=True)
class MemoryChart:
    """Limits, working sets and charged peaks over the time of the run."""

    frame: Frame
    marks: tuple[MemoryMark, ...]


def memory_chart(activations: Sequence[Activation], stop_s: float) -> MemoryChart | None:
    """The memory of all activations with times; None where there are none."""
    shown = [(one, one.times) for one in activations if one.times is not None]
    if not shown:
        return None
    top_mb = max(max(one.memory_mb, one.working_set_mb or 0, one.peak_mb or 0) for one, _ in shown)
    across = Scale(0, max(stop_s, 1e-3), LABELS_WIDTH, WIDTH - MARGIN)
    up = Scale(0, top_mb * 1.08, 214.0, 14.0)
    return MemoryChart(
        frame=frame(
            across,
            up,
            tuple(Tick(across(value), f"{value:g}") for value in ticks(0, stop_s, 10)),
            tuple(Tick(up(value), f"{value:g}") for value in ticks(0, top_mb * 1.08, 6)),
        ),
        marks=tuple(
            MemoryMark(
                x=across(times.submitted_ms / 1000),
                end=across(times.received_ms / 1000),
                limit=up(one.memory_mb),
                working_set=None if one.working_set_mb is None else up(one.working_set_mb),
                peak=None if one.peak_mb is None else up(one.peak_mb),
                title=f"{one.task}{'' if one.worker is None else f' worker {one.worker}'}, round "
                f"{one.round}: limit {one.memory_mb} MB, working set "
                f"{_or_unknown(one.working_set_mb)}, charged peak {_or_unknown(one.peak_mb)}",
            )
            for one, times in shown
        ),
    )


def _or_unknown(memory_mb: int | None) -> str:
    return "not measured" if memory_mb is None else f"{memory_mb} MB"
