"""Whether a pod may grow, to what size, and what became of it. Pure: facts in, a decision out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from disdel.memory_agent.memory_warning import MemoryWarning
from disdel.types.units import MIB, format_bytes

# Why a resize that was accepted is not there yet, as the pod's conditions have it.
Pending = Literal["", "Deferred", "Infeasible", "InProgress"]

# A node that has no room now may have some soon; an action that waits longer has lost its time.
DEFERRED_S = 10.0
# A kubelet looks at a pod every few seconds; one that has not acted by then is told no more.
UNSETTLED_S = 30.0


@dataclass(frozen=True, slots=True)
class Pod:
    """An action pod.

    Attributes:
        name: which is the host name inside of it.
        container: the name of the container that runs the action.
        limit_bytes: that container's memory limit in the pod's specification.
        actual_bytes: the limit that its node has given it; None where the node has not said so.
        pending: the node's word on a limit that is in the specification only.
        message: that word's explanation.
    """

    name: str
    container: str
    limit_bytes: int
    actual_bytes: int | None = None
    pending: Pending = ""
    message: str = ""

    @property
    def held_bytes(self) -> int:
        """What it takes of the pool: the larger of both limits, but not what it will never get."""
        actual_bytes = self.actual_bytes if self.actual_bytes is not None else self.limit_bytes
        if self.pending == "Infeasible":
            return actual_bytes
        return max(self.limit_bytes, actual_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How far pods may grow.

    Attributes:
        step_bytes: what one warning adds.
        ceiling_bytes: the largest limit of one pod.
        pool_bytes: the largest sum of the limits of all action pods.
        activation_bytes: the most that one activation may be given, all its warnings together.
    """

    step_bytes: int
    ceiling_bytes: int
    pool_bytes: int
    activation_bytes: int


@dataclass(frozen=True, slots=True)
class Grow:
    """Raise the limit of `pod` to `limit_bytes`."""

    pod: Pod
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Leave everything as it is; `reason` says why, for the agent's log."""

    reason: str


def decide(
    warning: MemoryWarning, pods: Sequence[Pod], policy: Policy, given_bytes: int = 0
) -> Grow | Refuse:
    """What a warning leads to.

    A pod grows by one step, or by what ceiling, pool and activation leave of it. Less than the
    critical region would only repeat the warning, so that is refused. A warning about a limit that
    was raised since, or that is heard twice, changes nothing; nor does one about a limit that the
    pod never had.

    Args:
        warning: what the container said.
        pods: all action pods, those of other actions included: they share the pool.
        policy: how far pods may grow.
        given_bytes: what this activation was given before.
    """
    pod = next((pod for pod in pods if pod.name == warning.host), None)
    if pod is None:
        return Refuse("there is no such action pod")
    specified = format_bytes(pod.limit_bytes)
    # Here as below, the kernel has rounded it to whole pages.
    if pod.limit_bytes - warning.limit_bytes >= MIB:
        if pod.actual_bytes is not None and pod.actual_bytes < pod.limit_bytes:
            return Refuse(f"it is being resized to {specified}{_explained(pod)}")
        return Refuse(f"its limit is {specified} already")
    if warning.limit_bytes - pod.limit_bytes >= MIB:
        return Refuse(f"its limit is {specified}, the warning is about another")
    rooms = {
        "ceiling": (policy.ceiling_bytes, pod.limit_bytes),
        "pool": (policy.pool_bytes, sum(pod.held_bytes for pod in pods)),
        "bound of one activation": (policy.activation_bytes, given_bytes),
    }
    free_bytes = {name: whole - taken for name, (whole, taken) in rooms.items()}
    scarce = min(free_bytes, key=lambda name: free_bytes[name])
    added_bytes = min(policy.step_bytes, free_bytes[scarce]) // MIB * MIB
    if added_bytes < max(1, warning.critical_bytes):
        left = format_bytes(max(0, free_bytes[scarce]))
        return Refuse(f"the {scarce}, {format_bytes(rooms[scarce][0])}, leaves {left}")
    return Grow(pod, pod.limit_bytes + added_bytes)


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing more is to be done; `limit_bytes` is what the container has, None if it is gone."""

    limit_bytes: int | None


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Nobody will give what was asked for: ask for `limit_bytes`, which the container has, again.

    `reason` says why, for the agent's log.
    """

    limit_bytes: int
    reason: str


def follow(
    before: Pod, wanted_bytes: int, pod: Pod | None, waited_s: float
) -> Settled | TakeBack | None:
    """What became of a resize that Kubernetes has accepted; None while that is open.

    Args:
        before: the pod as it was.
        wanted_bytes: what was asked for.
        pod: the pod as it is, None if it is gone.
        waited_s: for how long that has been so.
    """
    if pod is None:
        return Settled(None)
    actual_bytes = pod.actual_bytes
    # The kernel rounds a limit to whole pages.
    if actual_bytes is not None and wanted_bytes - actual_bytes < MIB:
        return Settled(actual_bytes)
    had_bytes = before.limit_bytes if actual_bytes is None else actual_bytes
    if pod.limit_bytes < wanted_bytes:
        # Somebody else has changed it meanwhile.
        return Settled(had_bytes)
    wanted = format_bytes(wanted_bytes)
    if pod.pending == "Infeasible":
        return TakeBack(had_bytes, f"its node can never give {wanted}{_explained(pod)}")
    if pod.pending == "Deferred" and waited_s >= DEFERRED_S:
        return TakeBack(had_bytes, f"its node has no room for {wanted} now{_explained(pod)}")
    if waited_s >= UNSETTLED_S:
        return TakeBack(
            had_bytes,
            f"its node has not given {wanted} within {UNSETTLED_S:g} s{_explained(pod)}",
        )
    return None


def _explained(pod: Pod) -> str:
    words = [word for word in (pod.pending, pod.message) if word]
    return f" ({': '.join(words)})" if words else ""
