"""Geometry of a report's charts: what is where, in pixels, for a template to draw.

No markup is made here, so that nothing of a report reaches a page but through the template, which
escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from disdel.report.timeline import Span, Stage, spans
from disdel.types import Activation

WIDTH = 1120.0
_LABELS_WIDTH = 110.0
_MARGIN = 14.0
# A word needs this much of a bar for each letter, and a mark needs this much at all.
_LETTER_WIDTH = 6.2
_MARK_WIDTH = 10.0
# Narrower parts of a bar are not drawn one by one; the bar itself always is.
_LEAST_WIDTH = 0.3


@dataclass(frozen=True, slots=True)
class Style:
    """How a stage looks: its word, its mark where a word has no room, and what it stands for."""

    word: str
    mark: str
    fill: str
    ink: str
    meaning: str


# The fills are Okabe and Ito's, which differ for colour-blind readers too.
STYLES: dict[Stage, Style] = {
    "wait": Style("wait", "W", "#ffffff", "#333333", "submitted, not started yet"),
    "init": Style("start", "C", "#bdbdbd", "#000000", "a cold container starts and imports"),
    "import": Style("import", "I", "#e69f00", "#000000", "framework imported by the activation"),
    "data": Style("data", "D", "#56b4e9", "#000000", "samples fetched, or waited for"),
    "build": Style("build", "B", "#f0e442", "#000000", "network built"),
    "load": Style("weights in", "↓", "#d9c2ec", "#000000", "weights loaded"),
    "train": Style("train", "T", "#0072b2", "#ffffff", "steps trained"),
    "score": Style("score", "S", "#cc79a7", "#000000", "average scored on held-out samples"),
    "average": Style("average", "A", "#d55e00", "#ffffff", "parts read, averaged, published"),
    "predict": Style("predict", "P", "#0072b2", "#ffffff", "samples predicted"),
    "store": Style("weights out", "↑", "#009e73", "#ffffff", "weights or model stored"),
    "run": Style("failed", "✕", "#000000", "#ffffff", "ended without a result"),
    "reply": Style("reply", "R", "#eeeeee", "#333333", "done; the answer on its way"),
}


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Piece:
    """One stage of a bar; `text` is its word or mark, or "" where neither has room."""

    x: float
    width: float
    style: Style
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One activation in its row."""

    activation: Activation
    x: float
    y: float
    width: float
    height: float
    pieces: tuple[Piece, ...]
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    """What one container or worker did; `y` is the middle of its label."""

    label: str
    y: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """Rows of bars over an axis of seconds."""

    width: float
    height: float
    left: float
    right: float
    bottom: float
    ticks: tuple[Tick, ...]
    rounds: tuple[Tick, ...]
    rows: tuple[Row, ...]
    bars: tuple[Bar, ...]


_ROW_HEIGHT = 30.0
_BAR_HEIGHT = 22.0
_TOP = 26.0
_AXIS_HEIGHT = 40.0


def timeline(activations: Sequence[Activation], start_s: float, stop_s: float) -> Timeline:
    """The activations with times that overlap `start_s` to `stop_s`, one row a worker.

    Activations of one worker that ran at the same time (a twin) stand in rows of their own.
    """
    scale = Scale(start_s, max(stop_s, start_s + 1e-3), _LABELS_WIDTH, WIDTH - _MARGIN)
    shown = [
        (activation, whole)
        for activation in activations
        if (whole := spans(activation))
        and whole[-1].stop_ms / 1000 >= start_s
        and whole[0].start_ms / 1000 <= stop_s
    ]
    rows: list[Row] = []
    bars: list[Bar] = []
    y = _TOP
    for label, members in _by_row(shown):
        for place, lane in enumerate(_lanes(members)):
            middle = y + _BAR_HEIGHT / 2
            rows.append(Row(label if place == 0 else f"{label}, too", middle))
            bars += [_bar(activation, whole, y, scale) for activation, whole in lane]
            y += _ROW_HEIGHT
    return Timeline(
        width=WIDTH,
        height=y + _AXIS_HEIGHT,
        left=scale.low_px,
        right=scale.high_px,
        bottom=y,
        ticks=tuple(Tick(scale(value), f"{value:g}") for value in ticks(start_s, stop_s, 10)),
        rounds=_round_starts(shown, scale),
        rows=tuple(rows),
        bars=tuple(bars),
    )


_Timed = tuple[Activation, tuple[Span, ...]]


def _by_row(shown: Iterable[_Timed]) -> list[tuple[str, list[_Timed]]]:
    """By worker, then the actions that belong to none."""
    rows: dict[tuple[bool, int, str], list[_Timed]] = {}
    for entry in shown:
        activation = entry[0]
        if activation.worker is None:
            key = (True, 0, activation.action.partition("-")[0])
        else:
            key = (False, activation.worker, f"worker {activation.worker}")
        rows.setdefault(key, []).append(entry)
    return [(key[2], rows[key]) for key in sorted(rows)]


def _lanes(members: list[_Timed]) -> list[list[_Timed]]:
    lanes: list[list[_Timed]] = []
    for entry in sorted(members, key=lambda entry: entry[1][0].start_ms):
        start_ms = entry[1][0].start_ms
        free = next((lane for lane in lanes if lane[-1][1][-1].stop_ms <= start_ms), None)
        if free is None:
            lanes.append([entry])
        else:
            free.append(entry)
    return lanes


def _bar(activation: Activation, whole: Sequence[Span], y: float, scale: Scale) -> Bar:
    pieces = []
    for span in whole:
        x, end = scale(span.start_ms / 1000), scale(span.stop_ms / 1000)
        if end - x >= _LEAST_WIDTH:
            style = STYLES[span.stage]
            pieces.append(Piece(x, end - x, style, _text(style, end - x)))
    x, end = scale(whole[0].start_ms / 1000), scale(whole[-1].stop_ms / 1000)
    return Bar(
        activation=activation,
        x=x,
        y=y,
        width=max(end - x, _LEAST_WIDTH),
        height=_BAR_HEIGHT,
        pieces=tuple(pieces),
        title=_title(activation, whole),
    )


def _text(style: Style, width: float) -> str:
    if width >= _LETTER_WIDTH * len(style.word) + 4:
        return style.word
    return style.mark if width >= _MARK_WIDTH else ""


def _title(activation: Activation, whole: Sequence[Span]) -> str:
    """What a pointer over the bar shows."""
    owner = "" if activation.worker is None else f" worker {activation.worker}"
    parts = [f"{STYLES[span.stage].word} {span.stop_ms - span.start_ms} ms" for span in whole]
    return (
        f"{activation.task}{owner}, round {activation.round}, {activation.start}, "
        f"{activation.outcome}: {', '.join(parts)}"
    )


def _round_starts(shown: Iterable[_Timed], scale: Scale) -> tuple[Tick, ...]:
    """Where each round begins; labels only as many as have room."""
    starts: dict[int, float] = {}
    for activation, whole in shown:
        start_s = whole[0].start_ms / 1000
        starts[activation.round] = min(start_s, starts.get(activation.round, start_s))
    found: list[Tick] = []
    free_px = 0.0
    for number, start_s in sorted(starts.items()):
        x = scale(start_s)
        label = f"round {number}" if number and x >= free_px else ""
        if label:
            free_px = x + _LETTER_WIDTH * len(label) + 8
        found.append(Tick(x, label))
    return tuple(found)


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
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
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
    width, height, left, top, bottom = 540.0, 220.0, 58.0, 30.0, 180.0
    across = Scale(min(rounds) - 0.3, max(rounds) + 0.3, left, width - _MARGIN)
    up = Scale(low - margin, high + margin, bottom, top)
    whole = [value for value in ticks(min(rounds), max(rounds), 10) if value == int(value)]
    return LineChart(
        title=title,
        width=width,
        height=height,
        left=left,
        right=width - _MARGIN,
        top=top,
        bottom=bottom,
        x_ticks=tuple(Tick(across(value), f"{value:g}") for value in whole),
        y_ticks=tuple(Tick(up(v), label(v)) for v in ticks(low - margin, high + margin, 5)),
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

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[MemoryMark, ...]


def memory_chart(activations: Sequence[Activation], stop_s: float) -> MemoryChart | None:
    """The memory of all activations with times; None where there are none."""
    shown = [(one, one.times) for one in activations if one.times is not None]
    if not shown:
        return None
    top_mb = max(max(one.memory_mb, one.working_set_mb or 0, one.peak_mb or 0) for one, _ in shown)
    top, bottom = 14.0, 214.0
    across = Scale(0, max(stop_s, 1e-3), _LABELS_WIDTH, WIDTH - _MARGIN)
    up = Scale(0, top_mb * 1.08, bottom, top)
    return MemoryChart(
        width=WIDTH,
        height=bottom + _AXIS_HEIGHT,
        left=across.low_px,
        right=across.high_px,
        top=top,
        bottom=bottom,
        x_ticks=tuple(Tick(across(value), f"{value:g}") for value in ticks(0, stop_s, 10)),
        y_ticks=tuple(Tick(up(value), f"{value:g}") for value in ticks(0, top_mb * 1.08, 6)),
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
