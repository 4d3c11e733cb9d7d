"""More or fewer workers between two rounds, where the policy wants it."""

from __future__ import annotations

from disdel.controller.runs.progress import Progress
from disdel.controller.training.crew import Crew, epoch_of
from disdel.controller.training.fleet import Fleet
from disdel.controller.training.observers import DoneRound, RoundObserver
from disdel.types import TrainJob
from disdel.types.events import Listener, Noted


class AdaptedCrew(RoundObserver):
    """Cuts each round for as many workers as the policy wants.

    Args:
        job: has the policy.
        crew: the plan of the next round.
        fleet: the workers.
        progress: the rounds of earlier controllers.
        emit: told of a change.
    """

    def __init__(
        self, job: TrainJob, crew: Crew, fleet: Fleet, progress: Progress, emit: Listener
    ) -> None:
        self._job = job
        self._crew = crew
        self._fleet = fleet
        self._emit = emit
        self._epochs = [epoch_of(entry.activations) for entry in progress.rounds]

    async def round_planned(self, number: int) -> None:  # noqa: ARG002
        if self._job.workers_policy == "fixed" or not self._epochs:
            return
        workers = self._crew.plan.workers
        plan = self._crew.after(self._epochs, self._job.workers_max)
        if plan.workers != workers:
            self._emit(Noted(message=f"workers from here on: {plan.workers}, not {workers}"))
            self._fleet.recut()

    async def round_done(self, done: DoneRound) -> None:
        self._epochs.append(epoch_of(done.activations))
