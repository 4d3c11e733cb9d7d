"""A runtime's costs as observed on the platform at hand, in place of the shipped constants."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from disdel.planner.observations import Observation
from disdel.types import Precision, RuntimeCosts

# Later observations replace earlier ones: machines and their neighbours change.
_RECENT = 32


def calibrated(
    shipped: RuntimeCosts,
    observations: Sequence[Observation],
    precision: Precision | None = "float32",
    slowness: float = 1.0,
) -> RuntimeCosts:
    """`shipped` with what the observations say of floor, start, and speed in this precision.

    Medians of the recent ones; what they do not say stays as shipped, and where no step was seen,
    steps take `slowness` times as long.
    """
    recent = observations[-_RECENT:]
    anonymous = [o.framework_anonymous_mb for o in recent if o.framework_anonymous_mb is not None]
    mapped = [o.framework_mapped_mb for o in recent if o.framework_mapped_mb is not None]
    starts = [o.cold_start_s for o in recent if o.cold_start_s is not None]
    measured = replace(
        shipped,
        anonymous_mb=(
            statistics.median(anonymous) + shipped.held.tracing_anonymous_mb
            if anonymous
            else shipped.anonymous_mb
        ),
        mapped_mb=(
            statistics.median(mapped) + shipped.held.tracing_mapped_mb
            if mapped
            else shipped.mapped_mb
        ),
        cold_start_s=statistics.median(starts) if starts else shipped.cold_start_s,
    )
    return at_speed(
        measured,
        shipped,
        step_ratio([o for o in recent if o.precision == (precision or "float32")]) or slowness,
    )


def at_speed(runtime: RuntimeCosts, shipped: RuntimeCosts, slowness: float) -> RuntimeCosts:
    """`runtime` with steps that take `slowness` times as long as by the shipped constants."""
    return replace(
        runtime,
        step_overhead_s=shipped.step_overhead_s * slowness,
        activations_per_s=shipped.activations_per_s / slowness,
        multiply_adds_per_s=shipped.multiply_adds_per_s / slowness,
    )


def traced(runtime: RuntimeCosts, observations: Sequence[Observation]) -> RuntimeCosts:
    """`runtime` that traces as was observed, of one network."""
    seen = [o.trace_s for o in observations[-_RECENT:] if o.trace_s is not None]
    return replace(runtime, trace_s=statistics.median(seen), trace_layer_s=0.0) if seen else runtime


def step_ratio(observations: Sequence[Observation]) -> float | None:
    """How many times as long a step takes as the shipped constants say; None where nothing does."""
    recent = observations[-_RECENT:]
    ratios = [o.step_s / o.shipped_step_s for o in recent if o.step_s and o.shipped_step_s]
    return statistics.median(ratios) if ratios else None


@dataclass(frozen=True, slots=True)
class RunTimes:
    """What runs were seen to take: outside of their rounds, and a round beside training.

    None is for what was not seen.
    """

    outside_s: float | None = None
    rest_s: float | None = None


def run_times(observations: Sequence[Observation], workers: int, scored_rounds: float) -> RunTimes:
    """What runs took that were like one of so many workers; outside of rounds, like any number.

    Args:
        observations: of the same network, batch size and precision.
        workers: of the run.
        scored_rounds: the share of its rounds that are scored.
    """
    recent = observations[-_RECENT:]
    same = [o for o in recent if (o.workers, o.scored_rounds) == (workers, scored_rounds)]
    rests_s = [o.rest_s for o in same if o.rest_s is not None]
    outside_s = [o.outside_s for o in same if o.outside_s is not None]
    outside_s = outside_s or [o.outside_s for o in recent if o.outside_s is not None]
    return RunTimes(
        statistics.median(outside_s) if outside_s else None,
        statistics.median(rests_s) if rests_s else None,
    )


def alike(
    observations: Sequence[Observation], model: str, batch_size: int, precision: Precision | None
) -> tuple[Observation, ...]:
    """The observations of the same network, batch size and precision, oldest first.

    A precision that is still open counts as float32, which takes longer.
    """
    wanted = (model, batch_size, precision or "float32")
    return tuple(o for o in observations if (o.model, o.batch_size, o.precision) == wanted)
