"""Wall time of a run, predicted: start, steps, scores, averages. Seconds throughout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from disdel.planner.averaging import STORE_BYTES_PER_S, Averaging
from disdel.planner.calibration import RunTimes
from disdel.planner.memory import Work, sample_bytes, state_bytes
from disdel.types import ModelFacts, RuntimeCosts
from disdel.types.phases import STORE_MARGIN_S

# Package created, and all of it removed again.
_RUN_OVERHEAD_S = 0.5
# Time of a round that is neither training nor scoring nor moving weights: invocations and joins.
_ROUND_OVERHEAD_S = 0.08
# What a client of a federation takes beside its steps: samples, the round's state, its sum.
_TURN_S = 0.01
# Importing Keras and JAX and lowering a network, and compiling what a layer becomes.
_COMPILER_START_S = 3.5
_COMPILE_LAYER_S = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """A run's predicted times.

    Attributes:
        step_s: one training step.
        round_s: a worker's training in one round.
        first_s: the shortest activation that brings the run forward.
        busy_s: what the busiest train container is billed for.
        billed_s: what all of them are, of which
        trained_s: are steps.
        collect_s: what collectWeights actions are billed for.
        ready_s: until a container is there that has imported the framework.
        start_s: outside of rounds: that, compiling, building and tracing the network, the end.
        total_s: from the plan to the end of the run.
    """

    step_s: float
    round_s: float
    first_s: float
    busy_s: float
    billed_s: float
    trained_s: float
    collect_s: float
    ready_s: float
    start_s: float
    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideSteps:
    """What all clients of a federation do together over a run, beside the steps of its rounds.

    Attributes:
        turns: how often one of them takes over a container in a round, and
        score_turns: for scores alone.
        scored: samples that they score.
        steps: that they take for scores alone, in steps of the plan's batch.
    """

    turns: int = 0
    score_turns: int = 0
    scored: float = 0.0
    steps: float = 0.0


# As many passes forward, which is all that scoring takes, last as long as a step.
FORWARDS_A_STEP = 3


def step_s(
    runtime: RuntimeCosts,
    model: ModelFacts,
    batch_size: float,
    threads: int,
    micro_batches: int = 1,
) -> float:
    """One training step; the backward pass costs two forward ones, and every part its overhead.

    Outputs of layers count beside multiplications: they go through memory once for every layer that
    only passes them on, and small convolutions are slow for them.
    """
    sample_s = (
        model.activations / runtime.activations_per_s
        + 3 * model.multiply_adds / runtime.multiply_adds_per_s
    )
    share = threads**runtime.thread_exponent
    return float(micro_batches * runtime.step_overhead_s + batch_size * sample_s / share)


def trace_s(runtime: RuntimeCosts, model: ModelFacts) -> float:
    """What the first step of a network takes beyond a step."""
    return runtime.trace_s + model.layers * runtime.trace_layer_s


def trial_s(runtime: RuntimeCosts, model: ModelFacts, one_step_s: float) -> float:
    """What a trial of precisions takes before the network is traced in the one that is chosen."""
    return trial_trace_s(runtime, model) + runtime.trial_steps * one_step_s


def trial_trace_s(runtime: RuntimeCosts, model: ModelFacts) -> float:
    """What a trial spends to trace the network once, if it does."""
    return trace_s(runtime, model) if runtime.trial_traces else 0.0


def predicted_compile_s(layers: int, *, targets: int) -> float:
    """Compiling a training step and a score of a network for so many CPUs."""
    return _COMPILER_START_S + targets * layers * _COMPILE_LAYER_S


def predict(
    runtime: RuntimeCosts,
    work: Work,
    *,
    workers: int,
    worker_steps: Sequence[float],
    updates: int,
    read_again: int,
    threads: int,
    turns: float,
    crowding: float,
    tries: bool,
    rounds: int,
    scores: int,
    averaging: Averaging,
    compile_s: float,
    pace: float = 1.0,
    beside: BesideSteps = BesideSteps(),
    seen: RunTimes = RunTimes(),  # noqa: B008 - it is frozen
) -> Timing:
    """The times of a run.

    Args:
        runtime: the runtime's costs.
        work: what one worker does.
        workers: train actions at the same time.
        worker_steps: the steps that each takes over the run.
        updates: the most that one of them makes in a round.
        read_again: samples that the busiest reads again in every round.
        threads: CPU threads of each.
        turns: how many times as long they take as with a CPU each, all at once.
        crowding: the same of steps, which those take at once that have clients in a round.
        tries: whether a trial chooses the precision.
        rounds: how many times the weights are averaged.
        scores: how many of the averages are scored.
        averaging: how that is done.
        compile_s: what compiling the network takes beforehand.
        pace: how many times as long as shipped takes what computes and is in no runtime's costs.
        beside: what the clients of a federation do beside the steps of rounds.
        seen: what such a run was seen to take.
    """
    alone_s = step_s(runtime, work.model, work.batch_size, threads, work.micro_batches)
    one_step_s = crowding * alone_s
    training_s = max(worker_steps) * one_step_s
    trained_s = math.fsum(worker_steps) * one_step_s
    sample_s = turns * alone_s / work.batch_size / FORWARDS_A_STEP
    decides = work.validation_samples > 0
    scored = scores * (work.validation_samples if decides else work.test_samples)
    scored += work.test_samples if decides else 0
    state = state_bytes(work.model)
    moved = updates * 2 * state + read_again * sample_bytes(work.dataset)
    move_s = moved / STORE_BYTES_PER_S * turns
    samples = work.dataset.train_samples + work.dataset.test_samples
    samples += work.dataset.validation_samples if decides else 0
    staged = samples * sample_bytes(work.dataset)
    # Containers start while the shards are staged.
    cold_s = max(runtime.cold_start_s * turns, staged / STORE_BYTES_PER_S)
    traced_s = trace_s(runtime, work.model) * turns
    ready_s = min(runtime.import_s * turns, cold_s)
    begin_s = cold_s - ready_s + _RUN_OVERHEAD_S * pace
    if seen.ready_s is not None:
        ready_s = seen.ready_s
    if seen.begin_s is not None:
        begin_s = seen.begin_s
    tried_s = turns * trial_s(runtime, work.model, alone_s) if tries else 0.0
    outside_s = ready_s + begin_s + tried_s + traced_s
    turn_s = _TURN_S * turns * pace / workers
    scores_s = (beside.steps * one_step_s + beside.scored * sample_s) / workers
    scores_s += beside.score_turns * turn_s
    turns_s = beside.turns * turn_s
    busy_s = cold_s + traced_s + training_s + rounds * move_s + scored * sample_s
    busy_s += turns_s + scores_s
    rest_s = rounds * pace * (move_s + averaging.elapsed_s + _ROUND_OVERHEAD_S * turns)
    rest_s += scored * sample_s + turns_s
    whole_rest_s = rest_s if seen.rest_s is None else rounds * seen.rest_s
    return Timing(
        step_s=one_step_s,
        round_s=training_s / rounds,
        first_s=runtime.import_s + trace_s(runtime, work.model) + one_step_s + STORE_MARGIN_S,
        busy_s=busy_s,
        billed_s=workers * (busy_s - training_s) + trained_s,
        trained_s=trained_s,
        collect_s=rounds * averaging.busy_s,
        ready_s=ready_s,
        start_s=compile_s + outside_s,
        total_s=compile_s + outside_s + training_s + whole_rest_s + scores_s,
    )
