"""When the phases of an activation ended, and what it keeps of its time."""

from __future__ import annotations

from dataclasses import dataclass

# Before its time limit, an activation has so long to store what it has and to answer; the plan
# counts with it, and the action stops by it.
STORE_MARGIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """When an activation was through with what, in ms since its code was called.

    In this order; None for what it does not do or did not come to.

    Attributes:
        imported_ms: the framework is imported (at once, in a warm container).
        data_ms: the samples are in memory.
        built_ms: the network is built.
        loaded_ms: the weights to begin with are loaded.
        scored_ms: what a training begins with is scored, where it does that first.
        stepped_ms: the first block of steps is trained.
        computed_ms: steps are trained, samples scored, or parts averaged and published.
        stored_ms: the resulting weights or model file are stored.
    """

    imported_ms: int | None = None
    data_ms: int | None = None
    built_ms: int | None = None
    loaded_ms: int | None = None
    scored_ms: int | None = None
    stepped_ms: int | None = None
    computed_ms: int | None = None
    stored_ms: int | None = None
