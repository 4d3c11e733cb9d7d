"""What the containers of earlier runs took, as far as estimates and predictions learn from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from disdel.types import Activation, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One worker's container over a whole run; memory in MB.

    Attributes:
        model: the network's label, shapes included.
        batch_size: samples of a training step.
        shard_samples: samples of its shard.
        threads: CPU threads it was given, None for the machine's.
        predicted_mb: what was predicted beyond the runtime's floor: data, model, training step.
        working_set_mb: the most that was resident; at least its limit where it was killed for it.
        framework_anonymous_mb: anonymous memory after the framework's import.
        framework_mapped_mb: mapped file pages at that time.
        cold_start_s: from the request to the first training step.
        step_s: a training step, in a warm container where there was one.
        shipped_step_s: the same step by the shipped constants.
        precision: what its training steps computed in.
    """

    model: str
    batch_size: int
    shard_samples: int
    threads: int | None
    predicted_mb: float
    working_set_mb: int
    framework_anonymous_mb: int | None = None
    framework_mapped_mb: int | None = None
    cold_start_s: float | None = None
    step_s: float | None = None
    shipped_step_s: float = 0.0
    precision: Precision = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What one worker's activations say together; None where none of them says it."""

    worker: int
    working_set_mb: int
    framework_anonymous_mb: int | None
    framework_mapped_mb: int | None
    cold_start_s: float | None
    step_s: float | None


# A cold activation's steps include tracing the network, which this many steps outweigh.
_STEPS_THAT_OUTWEIGH_TRACING = 200


def containers(activations: Sequence[Activation]) -> list[Container]:
    """The train containers of a run by worker; those that died unmeasured are left out."""
    by_worker: dict[int, list[Activation]] = {}
    for activation in activations:
        if activation.worker is not None and activation.action.startswith("train"):
            by_worker.setdefault(activation.worker, []).append(activation)
    found = []
    for worker, own in sorted(by_worker.items()):
        used = [a.working_set_mb for a in own if a.working_set_mb is not None]
        if not used:
            continue
        killed = [a.memory_mb for a in own if a.outcome == "oom"]
        found.append(
            Container(
                worker=worker,
                working_set_mb=max(used + killed),
                framework_anonymous_mb=_first(a.framework_anonymous_mb for a in own),
                framework_mapped_mb=_first(a.framework_mapped_mb for a in own),
                cold_start_s=_cold_start_s(own),
                step_s=_step_s(own),
            )
        )
    return found


def _first(values: Iterable[int | None]) -> int | None:
    return next((value for value in values if value is not None), None)


def _cold_start_s(activations: Sequence[Activation]) -> float | None:
    for activation in activations:
        if activation.start == "cold" and activation.train_s is not None:
            elapsed_s = (activation.wait_ms + activation.duration_ms) / 1000
            return max(0.0, elapsed_s - activation.train_s)
    return None


def _step_s(activations: Sequence[Activation]) -> float | None:
    timed = [
        (a.train_s, a.steps)
        for a in activations
        if a.train_s is not None
        and a.steps
        and (a.start == "warm" or a.steps >= _STEPS_THAT_OUTWEIGH_TRACING)
    ]
    if not timed:
        return None
    return sum(train_s for train_s, _ in timed) / sum(steps for _, steps in timed)
