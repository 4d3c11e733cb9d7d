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
        step_s: a training step after the first ones, which trace the network.
        trace_s: what the first one took beyond that.
        first_s: its first block of steps, tracing included, where it had no other;
        first_steps: so many.
        federated: whether the run was a federation, whose rounds take their clients' turns.
        loads: whether code of the user's own loaded its samples, which takes what it takes.
        shipped_step_s: the same step by the shipped constants.
        precision: what its training steps computed in.
        tried: whether a trial of the run had chosen that.
        workers: how many there were.
        scored_rounds: the share of the rounds that were scored.
        ready_s: from the plan of the run until its first container had imported the framework;
            None where something else took time meanwhile, such as a compiler.
        begin_s: from then to the first step, and from the last activation to the end.
        rest_s: what a round of it took beside training.
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
    trace_s: float | None = None
    shipped_step_s: float = 0.0
    precision: Precision = "float32"
    tried: bool = False
    workers: int = 0
    scored_rounds: float = 1.0
    ready_s: float | None = None
    begin_s: float | None = None
    rest_s: float | None = None
    first_s: float | None = None
    first_steps: int = 0
    federated: bool = False
    loads: bool = False


def telling(observations: Iterable[Observation], *, loads: bool) -> list[Observation]:
    """Those that tell something of a run.

    What code of the user's own holds and takes where it loads samples tells nothing of others.

    Args:
        observations: of runs.
        loads: whether such code loads the samples of the run that is asked about.
    """
    return [one for one in observations if loads or not one.loads]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What one worker's activations say together; None where none of them says it.

    Where it has taken one block of steps, the first, that is `first_s` and no `step_s`: nothing
    tells what of it was tracing.
    """

    worker: int
    working_set_mb: int
    framework_anonymous_mb: int | None
    framework_mapped_mb: int | None
    cold_start_s: float | None
    step_s: float | None
    trace_s: float | None
    first_s: float | None
    first_steps: int


def containers(activations: Sequence[Activation], *, block_steps: int) -> list[Container]:
    """The train containers of a run by worker; those that died unmeasured are left out.

    Args:
        activations: of the run.
        block_steps: the steps of a block; the first one traces the network.
    """
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
        step_s = _step_s(own, block_steps)
        first_s, first_steps = _first_block(own, block_steps)
        trace_s = None
        if step_s is not None and first_s is not None:
            trace_s, first_s = max(0.0, first_s - first_steps * step_s), None
        found.append(
            Container(
                worker=worker,
                working_set_mb=max(used + killed),
                framework_anonymous_mb=_first(a.framework_anonymous_mb for a in own),
                framework_mapped_mb=_first(a.framework_mapped_mb for a in own),
                cold_start_s=_cold_start_s(own),
                step_s=step_s,
                trace_s=trace_s,
                first_s=first_s,
                first_steps=first_steps,
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


def _step_s(activations: Sequence[Activation], block_steps: int) -> float | None:
    timed = [spent for a in activations if (spent := _traced(a, block_steps)) and spent[1] > 0]
    if not timed:
        return None
    return sum(train_s for train_s, _ in timed) / sum(steps for _, steps in timed)


def _traced(activation: Activation, block_steps: int) -> tuple[float, int] | None:
    """Seconds of the steps of an activation that found the network traced, and how many."""
    if activation.train_s is None:
        return None
    if activation.start == "warm":
        return activation.train_s, activation.steps
    phases = activation.phases
    if phases is None or phases.stepped_ms is None or phases.computed_ms is None:
        return None
    return (phases.computed_ms - phases.stepped_ms) / 1000, activation.steps - block_steps


def _first_block(activations: Sequence[Activation], block_steps: int) -> tuple[float | None, int]:
    """Seconds and steps of the block that has traced the network."""
    for activation in activations:
        phases = activation.phases
        if (
            activation.start == "cold"
            and activation.steps
            and phases is not None
            and phases.loaded_ms is not None
            and phases.stepped_ms is not None
        ):
            first_s = (phases.stepped_ms - (phases.scored_ms or phases.loaded_ms)) / 1000
            return first_s, min(block_steps, activation.steps)
    return None, 0
