"""The CPUs of a container: a part of the platform's, or its own, by its memory limit."""

from __future__ import annotations

from disdel.planner.limits import round_up_memory
from disdel.planner.question import Bounds


def threads_of(bounds: Bounds, workers: int, memory_mb: int) -> int:
    """CPU threads of each of so many workers with that memory limit."""
    per_cpu_mb = bounds.capacity.mb_per_cpu
    if per_cpu_mb is None:
        return max(1, bounds.cpus // workers)
    return max(1, memory_mb // per_cpu_mb)


def turns_of(bounds: Bounds, workers: int, memory_mb: int) -> float:
    """How many times as long workers take as they would with a CPU each."""
    per_cpu_mb = bounds.capacity.mb_per_cpu or memory_mb
    return max(1.0, workers / bounds.cpus, per_cpu_mb / memory_mb)


def size_mb(bounds: Bounds, needed_mb: float) -> int:
    """The memory limit of a container that needs so much.

    Where its CPU goes with its memory and time is to be short, it gets a whole one: in half the
    time, twice the memory costs the same.
    """
    needed = round_up_memory(needed_mb, bounds.capacity.memory_min_mb)
    if bounds.capacity.mb_per_cpu is None or bounds.aims.optimize != "time":
        return needed
    return max(needed, min(bounds.capacity.mb_per_cpu, bounds.memory_max_mb))
