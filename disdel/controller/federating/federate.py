"""A federated run from its job to its report: what it has of a training, and what it has not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from disdel.controller.federating.privacy import check_privacy
from disdel.controller.federating.roster import Roster
from disdel.controller.federating.rounds import FederatedRun
from disdel.controller.runs.run_folder import RunFolder
from disdel.controller.training.kinds import Counts, RunKind
from disdel.controller.training.resuming import Resumed
from disdel.controller.training.rounds import RoundLoop
from disdel.controller.training.splits import with_clients
from disdel.controller.training.train import learn
from disdel.data.partitioners import Partition
from disdel.planner.question import Federation
from disdel.settings import Settings
from disdel.strategies.asking import strategy_of, with_whole_strategy
from disdel.types import FederateJob, ModelSpec, RunReport, TrainJob
from disdel.types.events import Listener

# What clients train with in the literature, and what keeps nothing between rounds.
_DEFAULT_OPTIMIZER = "sgd"


async def federate(
    job: FederateJob, settings: Settings, emit: Listener, *, resumed: Resumed | None = None
) -> tuple[RunReport, RunFolder]:
    """Run a federation to its end; the report is saved in the run's folder, also of a failed run.

    With `resumed`, the run is taken up after its last complete round.

    Raises:
        UsageError: the job cannot be done as asked; nothing was run and nothing is left.
        DisdelError: the run failed.
    """
    job = with_whole_strategy(job)
    kind = FederatedKind(job)
    return await learn(job.as_training, settings, emit, resumed=resumed, kind=kind)


@dataclass(slots=True)
class FederatedKind(RunKind):
    """A federation."""

    asked: FederateJob
    _roster: Roster | None = None

    command = "federate"

    @property
    def federation(self) -> FederateJob:
        return self.asked

    def dealt(self, job: TrainJob, partition: Partition) -> TrainJob:  # noqa: ARG002
        asked = with_clients(self.asked, partition)
        self.asked = replace(asked, clients=asked.roster)
        return self.asked.as_training

    def settled(self, job: TrainJob, model: ModelSpec) -> TrainJob:
        if job.optimizer is None and not model.optimizer(None).beside_code:
            return replace(job, optimizer=_DEFAULT_OPTIMIZER)
        return job

    def planned(self, partition: Partition) -> tuple[Counts, Federation]:
        self._roster = Roster(self.asked, partition.assignment(self.asked.roster))
        check_privacy(self.asked, strategy_of(self.asked.as_training), self._roster.able)
        return self._roster.typical, Federation(
            rounds=self.asked.rounds,
            steps=self.asked.steps,
            sums=not strategy_of(self.asked).is_whole,
        )

    def run(self, *parts: Any) -> RoundLoop:
        assert self._roster is not None
        return FederatedRun(self.asked, self._roster, *parts)
