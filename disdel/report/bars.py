"""Geometry of the timeline: a row a worker, a bar an activation, a piece a stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from disdel.report.axes import AXIS_HEIGHT, LABELS_WIDTH, MARGIN, WIDTH, Scale, Tick, ticks
from disdel.types import Activation
from disdel.types.timeline import Span, Stage, spans

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
    "average": Style("average", "A", "#d55e00", "#ffffff", "updates read, averaged, published"),
    "predict": Style("predict", "P", "#0072b2", "#ffffff", "samples predicted"),
    "store": Style("weights out", "↑", "#009e73", "#ffffff", "weights or model stored"),
    "run": Style("failed", "✕", "#000000", "#ffffff", "ended without a result"),
    "reply": Style("reply", "R", "#eeeeee", "#333333", "done; the answer on its way"),
}


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


def timeline(activations: Sequence[Activation], start_s: float, stop_s: float) -> Timeline:
    """The activations with times that overlap `start_s` to `stop_s`, one row a worker.

    Activations of one worker that ran at the same time (speculative copies) stand in rows each.
    """
    scale = Scale(start_s, max(stop_s, start_s + 1e-3), LABELS_WIDTH, WIDTH - MARGIN)
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
        height=y + AXIS_HEIGHT,
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
