"""Containers that a platform has removed to make room for others, by what a run's records say.

OpenWhisk's pool removes a warm container of one action to start one of another, and tells nobody
(core/invoker ContainerPool.scala). The next activation of the first then starts cold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from disdel.types import Activation

_LOST = ("oom", "timeout", "error")


def started_again(before: Sequence[Activation], ended: Sequence[Activation]) -> int:
    """How many containers of a round were started although warm ones had been there.

    Args:
        before: the run's activations before the round.
        ended: those of the round. What was lost, or late, and then tried in another container is
            not counted.
    """
    there = Counter(entry.action for entry in before if entry.start == "cold")
    there.subtract(entry.action for entry in before if entry.outcome in _LOST)
    cold = Counter(entry.action for entry in ended if entry.start == "cold" and not entry.attempt)
    wanted = {
        action: len({entry.worker for entry in ended if entry.action == action}) for action in cold
    }
    return sum(
        max(0, count - max(0, wanted[action] - there[action])) for action, count in cold.items()
    )
