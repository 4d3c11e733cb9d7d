"""How many evaluate actions run a model over samples, how much memory each, and why.

Pure: the same question has the same plan. The samples of an action are streamed, so its memory
hardly depends on how many there are; more actions are for speed, and each pays a start and holds
the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from disdel.errors import InsufficientMemory, PlanError, UsageError
from disdel.planner.averaging import STORE_BYTES_PER_S
from disdel.planner.calibration import calibrated
from disdel.planner.cpu_shares import size_mb, threads_of, turns_of
from disdel.planner.limits import (
    Shortage,
    capped,
    lifted,
    order,
    round_up_memory,
    shortages,
    to_next_size,
)
from disdel.planner.memory import estimate_evaluate, layer_bytes, sample_bytes
from disdel.planner.question import Bounds
from disdel.planner.slices import equal_slices
from disdel.planner.timing import FORWARDS_A_STEP, step_s
from disdel.types import Estimate, InferPlan, ModelFacts, RuntimeCosts, Slice
from disdel.types.phases import STORE_MARGIN_S
from disdel.types.units import MIB, mb_ceil

# Larger batches are hardly faster; smaller ones where a layer would take more for a batch.
BATCH_SIZE = 128
_BATCH_BYTES = 64 * MIB
_FLOAT_BYTES = 4

# A network that only its file is known of, by what image networks have: the elements of its largest
# output for each of a sample, layers, and how often a weight is used.
_LARGEST_PER_INPUT = 32
_LAYERS = 50
_USES_OF_A_WEIGHT = 10

# As measured: without an optimizer and a training split a start takes less than a train action's.
_START_SHARE = 0.75
_RUN_OVERHEAD_S = 0.8
# One more activation: it is invoked, reads the model, and its start competes with the others'.
_ACTION_OVERHEAD_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class InferQuestion(Bounds):
    """All that the plan of an inference depends on.

    Attributes:
        samples: how many go through the model, at least one.
        model_bytes: size of the model's file.
        facts: sizes of the network, None where only its file is known.
        workers: evaluate actions, None to choose.

    Raises:
        UsageError: a number of workers below 1.
    """

    samples: int
    model_bytes: int
    facts: ModelFacts | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be auto or at least 1, not {self.workers}")

    @property
    def runtime(self) -> RuntimeCosts:
        """The runtime's costs as observed."""
        return calibrated(self.shipped, self.observations)

    @property
    def network(self) -> ModelFacts:
        """The network's sizes, guessed from its file where nothing else is known."""
        if self.facts is not None:
            return self.facts
        parameters = self.model_bytes // _FLOAT_BYTES
        largest = _LARGEST_PER_INPUT * math.prod(self.dataset.input_shape)
        return ModelFacts(
            parameters=parameters,
            activations=largest * _LAYERS,
            outputs=largest * _LAYERS,
            largest=largest,
            layers=_LAYERS,
            multiply_adds=_USES_OF_A_WEIGHT * parameters,
        )

    @property
    def basis(self) -> str:
        """What the estimate rests on, for people."""
        count = len(self.observations)
        measured = (
            f"{count} container{'s' * (count > 1)} measured on this platform"
            if count
            else "shipped constants"
        )
        known = "the network's sizes" if self.facts is not None else "sizes guessed from its file"
        return f"{measured}, {known}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """One number of actions, worked out."""

    workers: int
    threads: int
    batch_size: int
    slices: tuple[Slice, ...]
    estimate: Estimate
    memory_mb: int
    busy_s: float
    total_s: float
    shortages: tuple[Shortage, ...]

    @property
    def pool_mb(self) -> int:
        return self.workers * self.memory_mb

    @property
    def gb_s(self) -> float:
        return self.pool_mb * self.busy_s / 1024


def make_infer_plan(question: InferQuestion) -> InferPlan:
    """The best plan for the question's objective that breaks no limit.

    Raises:
        InsufficientMemory: no number of actions fits the memory of one, of all or of Redis.
        PlanError: another limit is in the way.
    """
    found = [_candidate(n, question) for n in _worker_counts(question)]
    fitting = [candidate for candidate in found if not candidate.shortages]
    if not fitting:
        raise _refusal(min(found, key=lambda c: (len(c.shortages), c.workers)), question)
    best = min(fitting, key=lambda candidate: order(candidate, question.aims.optimize))
    return InferPlan(
        workers=best.workers,
        memory_mb=best.memory_mb,
        memory_max_mb=question.memory_max_mb,
        pool_mb=None if math.isinf(question.pool_mb) else int(question.pool_mb),
        timeout_s=question.timeout_s(best.busy_s),
        timeout_max_s=question.timeout_max_s,
        threads=None if question.capacity.cpus is None else best.threads,
        batch_size=best.batch_size,
        slices=best.slices,
        estimate=best.estimate,
        predicted_s=round(best.total_s, 1),
        gb_s=round(best.gb_s, 1),
        invocations=best.workers,
        optimize=question.aims.optimize,
        basis=question.basis,
        reasons=tuple(_reasons(best, question)),
        store_mb=_store_mb(question),
    )


def _worker_counts(question: InferQuestion) -> range:
    """Up to the CPUs: beyond them actions take turns, and none needs less memory for it."""
    if question.workers is not None:
        return range(question.workers, question.workers + 1)
    most = min(question.cpus, question.samples, question.capacity.concurrency)
    return range(1, max(1, most) + 1)


def _candidate(workers: int, question: InferQuestion) -> _Candidate:
    runtime, network = question.runtime, question.network
    slices = equal_slices(question.samples, min(workers, question.samples))
    batch_size, estimate = _batch(workers, slices[0].samples, question)
    memory_mb = size_mb(question, estimate.total / MIB)
    threads = threads_of(question, workers, memory_mb)
    turns = turns_of(question, workers, memory_mb)
    known_threads = 1 if question.capacity.cpus is None else threads
    batch_s = step_s(runtime, network, batch_size, known_threads) / FORWARDS_A_STEP * turns
    reading_s = question.model_bytes / STORE_BYTES_PER_S * turns
    start_s = runtime.cold_start_s * _START_SHARE * turns + reading_s
    busy_s = start_s + math.ceil(slices[0].samples / batch_size) * batch_s
    return _Candidate(
        workers=workers,
        threads=threads,
        batch_size=batch_size,
        slices=slices,
        estimate=estimate,
        memory_mb=memory_mb,
        busy_s=busy_s,
        total_s=_RUN_OVERHEAD_S + busy_s + workers * _ACTION_OVERHEAD_S,
        shortages=shortages(
            question,
            {
                "batches": workers,
                "workers": workers,
                "memory": memory_mb,
                "timeout": runtime.import_s + reading_s + batch_s + STORE_MARGIN_S,
                "pool": workers * memory_mb,
                "store": _store_mb(question),
            },
            batches=question.samples,
        ),
    )


def _batch(workers: int, samples: int, question: InferQuestion) -> tuple[int, Estimate]:
    """The largest batch that is worth its memory and fits, halved from `BATCH_SIZE`."""
    network = question.network
    allowed_mb = min(question.memory_max_mb, question.pool_mb / workers)
    batch_size = BATCH_SIZE
    while True:
        estimate = estimate_evaluate(
            question.runtime,
            question.dataset,
            network,
            model_bytes=question.model_bytes,
            samples=samples,
            batch_size=min(batch_size, samples),
        )
        needed_mb = round_up_memory(estimate.total / MIB, question.capacity.memory_min_mb)
        small = batch_size * layer_bytes(network) <= _BATCH_BYTES
        if batch_size == 1 or (small and needed_mb <= allowed_mb):
            return min(batch_size, samples), estimate
        batch_size //= 2


def _store_mb(question: InferQuestion) -> int:
    """What Redis holds at most: the model, and of every sample itself and its outputs."""
    sample = sample_bytes(question.dataset) + question.dataset.outputs * _FLOAT_BYTES
    return mb_ceil(question.model_bytes + question.samples * sample)


def _reasons(best: _Candidate, question: InferQuestion) -> list[str]:
    cpus = question.capacity.cpus
    on = "unknown CPUs" if cpus is None else f"{cpus} CPU{'s' * (cpus > 1)}"
    least = {"time": "least time", "cost": "fewest GB·s", "memory": "least memory"}
    actions = f"{best.workers} action{'s' * (best.workers > 1)}"
    reasons = [
        f"{actions}, as asked for"
        if question.workers is not None
        else f"{actions} on {on}: of the plans that fit, {least[question.aims.optimize]}",
        f"{best.memory_mb} MB an action holds the estimate of {mb_ceil(best.estimate.total)} MB; "
        f"at most {question.memory_max_mb} MB allowed",
    ]
    if best.batch_size < min(BATCH_SIZE, best.slices[0].samples):
        reasons.append(
            f"batches of {best.batch_size}, not {BATCH_SIZE}: the largest layer takes "
            f"{layer_bytes(question.network) / MIB:.2g} MB a sample"
        )
    if best.busy_s > question.timeout_max_s:
        reasons.append(
            f"{best.busy_s:.0f} s of an action are cut into segments of at most "
            f"{question.timeout_max_s:g} s"
        )
    return [*reasons, *capped(question)]


def _refusal(nearest: _Candidate, question: InferQuestion) -> PlanError:
    """The error of a question that has no plan: every broken limit, and what would lift it."""
    kinds = {shortage.bound for shortage in nearest.shortages}
    error = InsufficientMemory if kinds & {"memory", "pool", "store"} else PlanError
    # With more actions than can be, the other needs are those of no plan.
    counted = [s for s in nearest.shortages if s.bound in ("batches", "workers")]
    told = counted[:1] or nearest.shortages
    return error("; ".join(_complaint(s, nearest, question) for s in told))


def _complaint(shortage: Shortage, nearest: _Candidate, question: InferQuestion) -> str:
    need, limit = math.ceil(shortage.need), shortage.limit
    raised = lifted(question, shortage)
    how = "" if raised is None else raised[0]
    counts = [s.limit for s in nearest.shortages if s.bound in ("batches", "workers")]
    most = min(counts, default=limit)
    match shortage.bound:
        case "batches":
            return (
                f"--workers {nearest.workers} is more than the {limit:.0f} samples: every action "
                f"needs at least one; use --workers {most:.0f} or fewer"
            )
        case "workers":
            return (
                f"--workers {nearest.workers} is more than the {limit:.0f} activations that the "
                f"platform runs at once; use --workers {most:.0f} or fewer"
            )
        case "memory":
            framework, results, model, step, margin = nearest.estimate.parts_mb
            return (
                f"an evaluate action needs {need} MB ({framework} for the framework, {results} "
                f"results, {model} model, {step} loading or a batch, {margin} margin"
                f"{to_next_size(nearest.estimate, nearest.memory_mb)}) and {limit:.0f} MB is "
                f"the limit; {how}"
            )
        case "pool":
            fewer = "use fewer --workers, or " if nearest.workers > 1 else ""
            return (
                f"{nearest.workers} × {nearest.memory_mb} MB are above the {limit:.0f} MB for all "
                f"containers; {fewer}{how}"
            )
        case "timeout":
            return (
                f"importing the framework, reading the model and one batch need "
                f"{shortage.need:.1f} s, and {limit:g} s is the time limit; {how}"
            )
        case _:
            return (
                f"the model, {question.samples} samples and their results take {need} MB of Redis, "
                f"and it has {limit:.0f} MB left; {how}, or infer fewer samples at a time"
            )
