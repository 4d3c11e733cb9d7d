"""Where the time of a run went: each activation as a row of spans, and the run as a few sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from disdel.types.phases import Phases
from disdel.types.report import Activation, RoundTimes

Stage = Literal[
    "wait",
    "init",
    "import",
    "data",
    "build",
    "load",
    "train",
    "score",
    "average",
    "predict",
    "store",
    "run",
    "reply",
]

# What an activation computes, by its task.
_WORK: dict[str, Stage] = {
    "train": "train",
    "score": "score",
    "collect": "average",
    "evaluate": "predict",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A part of an activation's time, in ms since the run began."""

    stage: Stage
    start_ms: int
    stop_ms: int


def spans(activation: Activation) -> tuple[Span, ...]:
    """The activation from its submission to its answer, without gaps; empty where it has no times.

    The phases count from the call of its code, which is where the platform's part of the start
    ends. Both clocks round, so a phase is cut where the activation ends.
    """
    times = activation.times
    if times is None:
        return ()
    called_ms = times.started_ms + activation.init_ms
    done_ms = times.started_ms + activation.duration_ms
    ends: list[tuple[Stage, int]] = [("wait", times.started_ms), ("init", called_ms)]
    if activation.phases is None:
        ends.append(("run", done_ms))
    else:
        ends += [
            (stage, min(done_ms, called_ms + after_ms))
            for stage, after_ms in _phase_ends(activation.task, activation.phases)
        ]
    ends.append(("reply", times.received_ms))
    found, start_ms = [], times.submitted_ms
    for stage, end_ms in ends:
        stop_ms = min(max(start_ms, end_ms), times.received_ms)
        if stop_ms > start_ms:
            found.append(Span(stage, start_ms, stop_ms))
        start_ms = stop_ms
    return tuple(found)


def _phase_ends(task: str, phases: Phases) -> Iterator[tuple[Stage, int]]:
    """The phases that were reached, in order, each with its end."""
    ends: tuple[tuple[Stage, int | None], ...] = (
        ("import", phases.imported_ms),
        ("data", phases.data_ms),
        ("build", phases.built_ms),
        ("load", phases.loaded_ms),
        ("score", phases.scored_ms),
        (_WORK.get(task, "run"), phases.computed_ms),
        ("store", phases.stored_ms),
    )
    for stage, end_ms in ends:
        if end_ms is not None:
            yield stage, end_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSplit:
    """The wall time of a run in seconds, each moment counted once.

    Attributes:
        start_s: until the first step of training (or the first prediction).
        training_s: while at least one worker trains (or predicts).
        preparing_s: from here on, while no one trains: containers start, import, fetch and build,
            or activations run that then fail.
        weights_s: weights are loaded or stored.
        averaging_s: parts are averaged.
        scoring_s: the average is scored.
        invoking_s: none of these: requests and answers are on their way.
        end_s: after the last activation.
    """

    start_s: float = 0.0
    training_s: float = 0.0
    preparing_s: float = 0.0
    weights_s: float = 0.0
    averaging_s: float = 0.0
    scoring_s: float = 0.0
    invoking_s: float = 0.0
    end_s: float = 0.0

    @property
    def rest_s(self) -> float:
        """What the rounds take beside training."""
        return (
            self.preparing_s + self.weights_s + self.averaging_s + self.scoring_s + self.invoking_s
        )


# Of what happens at one moment, the first of these counts; whatever is not here is on its way.
_COUNTED: tuple[tuple[str, tuple[Stage, ...]], ...] = (
    ("training_s", ("train", "predict")),
    ("preparing_s", ("init", "import", "data", "build", "run")),
    ("weights_s", ("load", "store")),
    ("averaging_s", ("average",)),
    ("scoring_s", ("score",)),
)
_PLACE = {stage: place for place, (_, stages) in enumerate(_COUNTED) for stage in stages}


def split_time(activations: Sequence[Activation], wall_s: float) -> TimeSplit | None:
    """Where `wall_s` seconds went; None where no activation has times.

    A run that never trained is all start.
    """
    every = [span for activation in activations for span in spans(activation)]
    if not every:
        return None
    began_ms = min(
        (span.start_ms for span in every if span.stage in ("train", "predict")), default=None
    )
    if began_ms is None:
        return TimeSplit(start_s=wall_s)
    ended_ms = max(span.stop_ms for span in every)
    sums_ms = dict.fromkeys((name for name, _ in _COUNTED), 0) | {"invoking_s": 0}
    names = [*(name for name, _ in _COUNTED), "invoking_s"]
    for place, length_ms in _moments(every, began_ms, ended_ms):
        sums_ms[names[place]] += length_ms
    return TimeSplit(
        start_s=began_ms / 1000,
        end_s=max(0.0, wall_s - ended_ms / 1000),
        **{name: value / 1000 for name, value in sums_ms.items()},
    )


def round_times(activations: Sequence[Activation]) -> RoundTimes | None:
    """Where the time of a round went, by its activations; None where none has times."""
    every = [
        # A cold container is made before it starts.
        replace(span, stage="init") if span.stage == "wait" and one.start == "cold" else span
        for one in activations
        for span in spans(one)
    ]
    if not every:
        return None
    start_ms, stop_ms = min(s.start_ms for s in every), max(s.stop_ms for s in every)
    sums_ms = [0] * (len(_COUNTED) + 1)
    for place, length_ms in _moments(every, start_ms, stop_ms):
        sums_ms[place] += length_ms
    training, preparing, weights, averaging, scoring, invoking = (ms / 1000 for ms in sums_ms)
    return RoundTimes(
        invocation_s=invoking,
        start_s=preparing,
        training_s=training,
        weights_s=weights,
        aggregation_s=averaging,
        scoring_s=scoring,
    )


def _moments(every: Sequence[Span], start_ms: int, stop_ms: int) -> Iterator[tuple[int, int]]:
    """The stretches between `start_ms` and `stop_ms` with the place in `_COUNTED` of what counts.

    `len(_COUNTED)` is the place of stretches in which nothing of it happens.
    """
    edges: list[tuple[int, int, int]] = []
    for span in every:
        if span.stage in _PLACE:
            edges += [
                (span.start_ms, 1, _PLACE[span.stage]),
                (span.stop_ms, -1, _PLACE[span.stage]),
            ]
    running = [0] * len(_COUNTED)
    at_ms = start_ms
    for edge_ms, change, place in sorted(edges):
        upto_ms = min(edge_ms, stop_ms)
        if upto_ms > at_ms:
            yield _first(running), upto_ms - at_ms
            at_ms = upto_ms
        running[place] += change
    if stop_ms > at_ms:
        yield len(_COUNTED), stop_ms - at_ms


def _first(running: Sequence[int]) -> int:
    return next((place for place, count in enumerate(running) if count), len(running))
