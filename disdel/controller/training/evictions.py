"""Containers that a platform has removed to make room for others, by what a run's records say.

OpenWhisk's pool removes a warm container of one action to start one of another, and tells nobody
(core/invoker ContainerPool.scala). The next activation of the first then starts cold.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.planning.nodes import remember_pool
from disdel.controller.training.collecting import Collector
from disdel.controller.training.containers import TrainContainers
from disdel.controller.training.crew import Crew
from disdel.controller.training.observers import DoneRound, RoundObserver
from disdel.types import Activation
from disdel.types.events import Noted

_LOST = ("oom", "timeout", "error")


class Evictions(RoundObserver):
    """Averages in a worker's container where the platform removes warm ones to make room.

    The first controller of a run knows all containers of it; a later one does not.

    Args:
        collector: makes the averages.
        train: the workers' action.
        fleet: the workers.
        crew: the plan.
    """

    def __init__(
        self, collector: Collector, train: SizedAction, fleet: TrainContainers, crew: Crew
    ) -> None:
        self._collector = collector
        self._train = train
        self._fleet = fleet
        self._crew = crew

    async def round_done(self, done: DoneRound) -> None:
        again = started_again(done.before, done.activations)
        plan = self._crew.plan
        if not again or not self._collector.is_apart or done.number == plan.rounds:
            return
        together_mb = plan.workers * self._fleet.worker_mb() + plan.collect_memory_mb
        self._collector.move_to(self._train, self._fleet.worker_mb)
        invoker = self._fleet.invoker
        invoker.emit(
            Noted(
                message=f"the platform started {again} warm container{'s' * (again > 1)} again, so "
                f"it seems to keep less than {together_mb} MB of them: from here on a worker's "
                "container averages; --pool-memory MB plans for what there is"
            )
        )
        if (address := invoker.session.lasting_address) is not None:
            await asyncio.to_thread(remember_pool, address, below_mb=together_mb)


def started_again(before: Sequence[Activation], ended: Sequence[Activation]) -> int:
    """How many containers of a round were started although warm ones had been there.

    Args:
        before: the run's activations before the round.
        ended: those of the round. What was late, and then tried in another container, is not
            counted. Where one was lost, nothing is: its work may be cut, and asked for anew.
    """
    if any(entry.outcome in _LOST for entry in ended):
        return 0
    there = Counter(entry.action for entry in before if entry.start == "cold")
    there.subtract(entry.action for entry in before if entry.outcome in _LOST)
    cold = Counter(entry.action for entry in ended if entry.start == "cold" and not entry.attempt)
    wanted = {
        action: len({entry.worker for entry in ended if entry.action == action}) for action in cold
    }
    return sum(
        max(0, count - max(0, wanted[action] - there[action])) for action, count in cold.items()
    )
