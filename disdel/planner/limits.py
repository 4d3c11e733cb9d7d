"""The limits of every plan: which of them a candidate breaks, and what would raise them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

from disdel.planner.question import Bounds
from disdel.types import Estimate, Objective
from disdel.types.plan import in_brackets

# Memory limits are multiples of this: finer steps would tell two equal actions apart.
MEMORY_STEP_MB = 32

# In the order in which a user would lift them.
Bound = Literal["batches", "workers", "memory", "timeout", "pool", "gpu", "store"]

B = TypeVar("B", bound=Bounds)


class Figures(Protocol):
    """What candidates are compared by."""

    @property
    def workers(self) -> int: ...
    @property
    def total_s(self) -> float: ...
    @property
    def gb_s(self) -> float: ...
    @property
    def pool_mb(self) -> int: ...


def order(candidate: Figures, objective: Objective) -> tuple[float, ...]:
    """Smaller for the candidate that serves the objective better."""
    match objective:
        case "time":
            return candidate.total_s, candidate.workers
        case "cost":
            return candidate.gb_s, candidate.total_s, candidate.workers
        case "memory":
            return candidate.pool_mb, candidate.total_s, candidate.workers


@dataclass(frozen=True, slots=True)
class Shortage:
    """A limit that a candidate breaks; both figures in the limit's own unit."""

    bound: Bound
    need: float
    limit: float


def shortages(
    bounds: Bounds, needs: Mapping[Bound, float], *, batches: float
) -> tuple[Shortage, ...]:
    """The limits that are broken, in the order in which a user would lift them.

    Args:
        bounds: the limits.
        needs: what the candidate needs of each; MB, seconds and workers.
        batches: the most workers that there is something to do for.
    """
    limits: dict[Bound, float] = {
        "batches": batches,
        "workers": bounds.capacity.concurrency,
        "memory": bounds.memory_max_mb,
        "timeout": bounds.timeout_max_s,
        "pool": bounds.pool_mb,
        "gpu": bounds.gpu_memory_mb or math.inf,
        "store": math.inf if bounds.store_mb is None else bounds.store_mb,
    }
    return tuple(
        Shortage(bound, needs[bound], limit)
        for bound, limit in limits.items()
        if needs.get(bound, 0) > limit
    )


def lifted(bounds: B, shortage: Shortage) -> tuple[str, B] | None:
    """How a limit is raised to the need, in words and made; None where nobody can raise it."""
    limits, capacity = bounds.limits, bounds.capacity
    need = math.ceil(shortage.need)
    texts = []
    match shortage.bound:
        case "memory":
            if limits.memory_max_mb is not None and limits.memory_max_mb < need:
                limits = replace(limits, memory_max_mb=need)
                texts.append(f"raise --memory-max to {need}")
            if capacity.memory_max_mb < need:
                capacity = replace(capacity, memory_max_mb=need)
                named = in_brackets(capacity.names.memory)
                texts.append(f"raise the platform's memory limit to {need} MB{named}")
        case "pool":
            if limits.pool_memory_mb is not None and limits.pool_memory_mb < need:
                limits = replace(limits, pool_memory_mb=need)
                texts.append(f"raise --pool-memory to {need}")
            if capacity.pool_memory_mb is not None and capacity.pool_memory_mb < need:
                capacity = replace(capacity, pool_memory_mb=need)
                named = in_brackets(capacity.names.pool.format(need=need))
                texts.append(f"raise the platform's user memory to {need} MB{named}")
        case "timeout":
            if limits.timeout_max_s is not None and limits.timeout_max_s < need:
                limits = replace(limits, timeout_max_s=float(need))
                texts.append(f"raise --timeout-max to {need}")
            if capacity.timeout_max_s < need:
                capacity = replace(capacity, timeout_max_s=float(need))
                named = in_brackets(capacity.names.timeout)
                texts.append(f"raise the platform's time limit to {need} s{named}")
        case "gpu":
            limits = replace(limits, gpu_memory_mb=0)
            texts.append("train on the CPU with --gpu-memory off")
        case "store":
            missing_mb = need - math.floor(shortage.limit)
            told = f"give Redis {missing_mb} MB more (its setting maxmemory)"
            return told, replace(bounds, store_mb=need)
        case _:
            return None
    return " and ".join(texts), replace(bounds, limits=limits, capacity=capacity)


def capped(bounds: Bounds) -> list[str]:
    """What the user allows and the platform does not, in sentences: the platform's counts."""
    limits, capacity = bounds.limits, bounds.capacity
    told = [
        f"{option} {asked:.0f} is above the platform's limit of {limit:.0f} {unit}, which counts"
        for option, asked, limit, unit in (
            ("--memory-max", limits.memory_max_mb, capacity.memory_max_mb, "MB"),
            ("--pool-memory", limits.pool_memory_mb, capacity.pool_memory_mb, "MB"),
            ("--gpu-memory", limits.gpu_memory_mb, capacity.gpu_memory_mb, "MB"),
            ("--timeout-max", limits.timeout_max_s, capacity.timeout_max_s, "s"),
        )
        if asked is not None and limit and asked > limit
    ]
    if limits.gpu_memory_mb and capacity.gpu_memory_mb == 0:
        told.append(
            f"--gpu-memory {limits.gpu_memory_mb}: the platform has no GPU, and the actions train "
            "on the CPU"
        )
    if limits.gpu_memory_mb and capacity.gpu_memory_mb is None and bounds.shipped.uses_gpu:
        told.append(
            f"--gpu-memory {limits.gpu_memory_mb}: the platform tells of no GPU, and actions that "
            "see none train on the CPU (--gpu-memory off plans no memory for CUDA)"
        )
    return told


def round_up_memory(needed_mb: float, minimum_mb: int) -> int:
    """The memory limit that holds `needed_mb`."""
    return max(minimum_mb, math.ceil(needed_mb / MEMORY_STEP_MB) * MEMORY_STEP_MB)


def to_next_size(estimate: Estimate, memory_mb: int) -> str:
    """What the parts of an estimate lack of the memory limit that holds them, behind them."""
    rest = memory_mb - sum(estimate.parts_mb)
    return f", {rest} to the next size" if rest > 0 else ""
