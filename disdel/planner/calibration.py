"""A runtime's costs as observed on the platform at hand, in place of the shipped constants."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
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
    pace: float = 1.0,
) -> RuntimeCosts:
    """`shipped` with what the observations say of floor, start, and speed in this precision.

    Medians of the recent ones. Of what they do not say, memory stays as shipped, steps take
    `slowness` times as long and the rest `pace` times.
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
        import_s=shipped.import_s * pace,
        cold_start_s=statistics.median(starts) if starts else shipped.cold_start_s * pace,
        trace_s=shipped.trace_s * pace,
        trace_layer_s=shipped.trace_layer_s * pace,
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
    """What runs were seen to take beside their steps, in seconds; None is for what was not seen.

    Attributes:
        ready_s: from the plan until a container was there that had imported the framework.
        begin_s: from then to the first step, and from the last activation to the end.
        rest_s: of a round beside training.
    """

    ready_s: float | None = None
    begin_s: float | None = None
    rest_s: float | None = None


def run_times(
    observations: Sequence[Observation],
    own: Sequence[Observation],
    workers: int,
    scored_rounds: float,
    *,
    federated: bool = False,
) -> RunTimes:
    """What runs took that were like one of so many workers.

    What is outside of rounds is that of any number of workers, and of any network, where it was not
    seen of this one: most of it hangs on neither.

    Args:
        observations: all that there are, oldest first.
        own: those of the same network, batch size and precision.
        workers: of the run.
        scored_rounds: the share of its rounds that are scored.
        federated: whether it is a federation.
    """
    mine = own[-_RECENT:]
    wanted = (workers, scored_rounds, federated)
    same = [o for o in mine if (o.workers, o.scored_rounds, o.federated) == wanted]
    recent = observations[-_RECENT:]
    return RunTimes(
        ready_s=_first_median([o.ready_s for o in some] for some in (same, mine, recent)),
        begin_s=_first_median([o.begin_s for o in some] for some in (same, mine, recent)),
        rest_s=_first_median([[o.rest_s for o in same]]),
    )


def _first_median(groups: Iterable[Sequence[float | None]]) -> float | None:
    """The median of the first of them that has values."""
    for group in groups:
        values = [value for value in group if value is not None]
        if values:
            return statistics.median(values)
    return None


def alike(
    observations: Sequence[Observation], model: str, batch_size: int, precision: Precision | None
) -> tuple[Observation, ...]:
    """The observations of the same network, batch size and precision, oldest first.

    A precision that is still open counts as float32, which takes longer.
    """
    wanted = (model, batch_size, precision or "float32")
    return tuple(o for o in observations if (o.model, o.batch_size, o.precision) == wanted)
