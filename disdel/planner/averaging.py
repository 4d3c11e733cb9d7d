"""How the parts of a round are averaged: in one collectWeights action, or in a tree of them.

A tree computes on several CPUs and needs less memory an action; it stores and fetches the averages
of its groups besides, and starts more containers. Seconds throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from disdel.planner.memory import estimate_collect
from disdel.types.units import MIB

# In the request of collectWeights, which is told of every part.
_PART_JSON_BYTES = 280
_REQUEST_JSON_BYTES = 4096

# Of one action: through a Redis on the same machine, and for the arithmetic of an average. All
# actions together pass one Redis. `experiments/scale`.
STORE_BYTES_PER_S = 400e6
# An action that must have all parts takes no more memory than one of so many whole blocks does.
WHOLE_PARTS = 16
_REDIS_BYTES_PER_S = 1.2e9
_ACTION_OVERHEAD_S = 0.02
_COLD_START_S = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Averaging:
    """How a round is averaged.

    Attributes:
        fan_in: the most parts that one action averages.
        memory_mb: what such an action needs.
        elapsed_s: the time of a round's average.
        busy_s: what its actions are billed for.
        actions: how many they are.
    """

    fan_in: int
    memory_mb: float
    elapsed_s: float
    busy_s: float
    actions: int


def most_parts(payload_bytes: int) -> int:
    """The parts that one action can be told of in a request of so many bytes."""
    return (payload_bytes - _REQUEST_JSON_BYTES) // _PART_JSON_BYTES


def level_sizes(parts: int, fan_in: int) -> list[int]:
    """The actions of each level of the tree, leaves first; the last level is one action."""
    sizes = [math.ceil(parts / fan_in)]
    while sizes[-1] > 1:
        sizes.append(math.ceil(sizes[-1] / fan_in))
    return sizes


def choose_averaging(
    workers: int,
    state_bytes: int,
    *,
    asked: int | None,
    payload_bytes: int,
    cpus: int,
    memory_max_mb: float,
    free_mb: float,
    rounds: int,
    is_whole: bool = False,
) -> Averaging:
    """The fastest way to average that fits; the least in need of memory where none does.

    Args:
        workers: parts of a round.
        state_bytes: of one part.
        asked: the fan-in that the user asks for.
        payload_bytes: the most JSON of a request.
        cpus: of the platform.
        memory_max_mb: the most that one action may have.
        free_mb: what all collectWeights actions may have beside the train actions.
        rounds: over which starting the tree's containers is spread.
        is_whole: whether one action must have all parts; it reads less of each at once, then.
    """
    if is_whole:
        return _averaging(workers, state_bytes, max(2, workers), cpus, free_mb, rounds, WHOLE_PARTS)
    most = max(2, min(workers, most_parts(payload_bytes)))
    fan_ins = [most] + [2**i for i in range(1, most.bit_length()) if 2**i < most]
    ways = [
        _averaging(workers, state_bytes, fan_in, cpus, free_mb, rounds)
        for fan_in in ([min(asked, most)] if asked is not None else fan_ins)
    ]
    fitting = [way for way in ways if way.memory_mb <= memory_max_mb]
    if not fitting:
        return min(ways, key=lambda way: way.memory_mb)
    return min(fitting, key=lambda way: (way.elapsed_s, way.actions))


def _averaging(
    workers: int,
    state_bytes: int,
    fan_in: int,
    cpus: int,
    free_mb: float,
    rounds: int,
    most_at_once: float = math.inf,
) -> Averaging:
    memory_mb = estimate_collect(int(min(fan_in, most_at_once))).total / MIB
    lanes = max(1, min(cpus, int(min(free_mb / memory_mb, cpus))))
    levels = level_sizes(workers, fan_in)
    elapsed_s, busy_s, parts = 0.0, 0.0, workers
    for actions in levels:
        moved = (parts + actions) * state_bytes
        one_s = _ACTION_OVERHEAD_S + moved / actions / STORE_BYTES_PER_S
        elapsed_s += max(math.ceil(actions / lanes) * one_s, moved / _REDIS_BYTES_PER_S)
        busy_s += actions * one_s
        parts = actions
    # The first container starts while the workers train; the other groups' when they are needed.
    others = min(lanes, max(levels)) - 1
    cold_s = _COLD_START_S / rounds if others else 0.0
    return Averaging(
        fan_in=fan_in,
        memory_mb=memory_mb,
        elapsed_s=elapsed_s + cold_s,
        busy_s=busy_s + cold_s * others,
        actions=sum(levels),
    )
