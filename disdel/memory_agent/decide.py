"""Whether a pod may grow, and to what size. Pure: facts in, a decision out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from disdel.memory_agent.memory_warning import MemoryWarning
from disdel.units import MIB, format_bytes


@dataclass(frozen=True, slots=True)
class Pod:
    """An action pod as its specification has it, which counts from the moment of a resize.

    Attributes:
        name: which is the host name inside of it.
        container: the name of the container that runs the action.
        limit_bytes: that container's memory limit.
    """

    name: str
    container: str
    limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How far pods may grow.

    Attributes:
        step_bytes: what one warning adds.
        ceiling_bytes: the largest limit of one pod.
        pool_bytes: the largest sum of the limits of all action pods.
    """

    step_bytes: int
    ceiling_bytes: int
    pool_bytes: int


@dataclass(frozen=True, slots=True)
class Grow:
    """Raise the limit of `pod` to `limit_bytes`."""

    pod: Pod
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Leave everything as it is; `reason` says why, for the agent's log."""

    reason: str


def decide(warning: MemoryWarning, pods: Sequence[Pod], policy: Policy) -> Grow | Refuse:
    """What a warning leads to.

    A pod grows by one step, or by what ceiling and pool leave of it. Less than the critical region
    would only repeat the warning, so that is refused. A warning about a limit that was raised
    since, or that is heard twice, changes nothing.

    Args:
        warning: what the container said.
        pods: all action pods, those of other actions included: they share the pool.
        policy: how far pods may grow.
    """
    pod = next((pod for pod in pods if pod.name == warning.host), None)
    if pod is None:
        return Refuse("there is no such action pod")
    if pod.limit_bytes > warning.limit_bytes:
        return Refuse(f"its limit is {format_bytes(pod.limit_bytes)} already")
    pool_free_bytes = policy.pool_bytes - sum(pod.limit_bytes for pod in pods)
    rooms = {
        "ceiling": policy.ceiling_bytes - pod.limit_bytes,
        "pool": pool_free_bytes,
    }
    scarce = min(rooms, key=lambda name: rooms[name])
    added_bytes = min(policy.step_bytes, rooms[scarce]) // MIB * MIB
    if added_bytes < max(1, warning.critical_bytes):
        whole = policy.ceiling_bytes if scarce == "ceiling" else policy.pool_bytes
        left = format_bytes(max(0, rooms[scarce]))
        return Refuse(f"the {scarce} of {format_bytes(whole)} leaves {left}")
    return Grow(pod, pod.limit_bytes + added_bytes)
