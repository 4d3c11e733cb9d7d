"""A federated run from its job to its report: what it has of a training, and what it has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.controller.federating.asynchronous import buffer_size, check_asynchronous
from disdel.controller.federating.counting import assumed_sizes, check_uncounted
from disdel.controller.federating.forecast import Forecast
from disdel.controller.federating.foreseeing import check_foreseen
from disdel.controller.federating.late import LateRun, check_late
from disdel.controller.federating.privacy import DifferentialPrivacy, check_privacy
from disdel.controller.federating.roster import Roster
from disdel.controller.federating.rounds import FederatedRun
from disdel.controller.federating.versions import AsynchronousRun
from disdel.controller.planning.endpoint_plans import Parts, parts_of_cohort
from disdel.controller.planning.strategy_checks import check_least, check_takes_all
from disdel.controller.runs.run_folder import RunFolder
from disdel.controller.training.kinds import Counts, RunKind
from disdel.controller.training.resuming import Resumed
from disdel.controller.training.rounds import RoundLoop
from disdel.controller.training.splits import with_clients
from disdel.controller.training.train import learn
from disdel.data.client_counts import client_counts
from disdel.data.partitioners import Partition
from disdel.errors import UsageError
from disdel.planner.question import Federation
from disdel.platforms.base import Provider
from disdel.platforms.endpoints import Endpoints
from disdel.selection import trace_digest
from disdel.settings import Settings
from disdel.strategies.asking import strategy_of, with_whole_strategy
from disdel.strategies.base import Strategy
from disdel.types import FederateJob, ModelSpec, RoundReport, RunReport, TrainJob
from disdel.types.assignment import Assignment
from disdel.types.events import Listener
from disdel.user_code.collecting import DATA_FOLDER, UserCode, collect
from disdel.user_code.reading import parameters_of

# What clients train with in the literature, and what keeps nothing between rounds.
_DEFAULT_OPTIMIZER = "sgd"


async def federate(
    job: FederateJob,
    settings: Settings,
    emit: Listener,
    *,
    resumed: Resumed | None = None,
    provider: Provider | None = None,
) -> tuple[RunReport, RunFolder]:
    """Run a federation to its end; the report is saved in the run's folder, also of a failed run.

    With `resumed`, the run is taken up after its last complete round; `provider` is of the
    platform, where something of that has begun already.

    Raises:
        UsageError: the job cannot be done as asked; nothing was run and nothing is left.
        DisdelError: the run failed.
    """
    job = with_whole_strategy(job)
    kind = FederatedKind(job)
    return await learn(
        job.as_training, settings, emit, resumed=resumed, kind=kind, provider=provider
    )


@dataclass(slots=True)
class FederatedKind(RunKind):
    """A federation."""

    asked: FederateJob
    _roster: Roster | None = None
    # Of clients that have their own data: the function that loads them, and how many each has;
    # None where they have not said so. Its parameters, where its text says them.
    _data: UserCode | None = None
    _parameters: frozenset[str] | None = None
    _counts: NDArray[np.int64] | None = None

    command = "federate"

    @property
    def federation(self) -> FederateJob:
        return self.asked

    @property
    def knows_samples(self) -> bool:
        return self._data is None or self._counts is not None

    def check_strategy(self, strategy: Strategy) -> None:
        if not strategy.awaits_all:
            check_asynchronous(strategy, self.asked)
        check_late(strategy, self.asked)
        check_takes_all(strategy, self.asked)

    def dealt(self, job: TrainJob, partition: Partition) -> TrainJob:  # noqa: ARG002
        if self.asked.data is not None:
            return self._dealt_by_clients(self.asked.data)
        asked = with_clients(self.asked, partition)
        self.asked = replace(asked, clients=asked.roster)
        return self.asked.as_training

    def _dealt_by_clients(self, entry: str) -> TrainJob:
        """The job, as clients say how many samples they have, if they do."""
        self._data = collect(entry)
        self._parameters = parameters_of(self._data)
        counts = self._counts = client_counts(self._data)
        if counts is None:
            check_uncounted(self.asked, strategy_of(self.asked))
        elif self.asked.clients not in (None, len(counts)):
            raise UsageError(
                f"counts() of {entry} is of {len(counts)} clients, and --clients is "
                f"{self.asked.clients}: leave --clients out"
            )
        else:
            self.asked = replace(self.asked, clients=len(counts))
        return self.asked.as_training

    def check_places(self, endpoints: Endpoints | None) -> None:
        if self._parameters is None or "client" in self._parameters:
            return
        together = [self.asked.roster]
        if endpoints is not None:
            bound = [count for _, count in endpoints.homes(self.asked.roster, True).counts()]
            together = [*bound, self.asked.roster - sum(bound)]
        if max(together) > 1:
            raise UsageError(
                f"{self.asked.data} takes no client, so that {max(together)} clients of one place "
                "would train on the same samples: give it a parameter `client`, a number from 0 on"
            )

    def assignment(self, partition: Partition, clients: int) -> Assignment:  # noqa: ARG002
        assert self._roster is not None
        return self._roster.assignment

    def file_digests(self) -> dict[str, str]:
        digests = {}
        if self._data is not None:
            digests[self._data.ref.entry] = self._data.ref.digest
        if self.asked.available is not None:
            digests |= trace_digest(self.asked.available)
        return digests

    def files(self) -> Mapping[str, bytes]:
        if self._data is None:
            return {}
        return {f"{DATA_FOLDER}/{name}": data for name, data in self._data.laid_out().items()}

    def settled(self, job: TrainJob, model: ModelSpec) -> TrainJob:
        # Clients' steps are small, and no container of theirs tries.
        job = replace(job, precision=job.precision or "float32")
        if job.optimizer is None and not model.optimizer(None).beside_code:
            return replace(job, optimizer=_DEFAULT_OPTIMIZER)
        return job

    def planned(self, partition: Partition) -> tuple[Counts, Federation]:
        assignment = self._assignment(partition)
        strategy = strategy_of(self.asked)
        check_least(strategy, self.asked)
        self._roster = Roster(
            self.asked, assignment, is_counted=self.knows_samples, waits=strategy.awaits_all
        )
        check_privacy(self.asked, strategy, self._roster.able)
        forecast = Forecast(self.asked, self._roster)
        return self._roster.typical, Federation(
            rounds=self.asked.rounds,
            work=forecast.work,
            sums=not strategy.sees_each,
            further_sums=len(strategy.sum_names()),
            asked=self.asked.asked,
            clients=self.asked.roster,
            deadline_s=self.asked.deadline_s,
            updates=None if strategy.awaits_all else partial(buffer_size, strategy),
            scores=forecast.scores(),
            sizes=forecast.sizes(),
            loads=self._data is not None,
        )

    def foreseen(self, done: int) -> str | None:
        assert self._roster is not None
        waits = strategy_of(self.asked).awaits_all
        return check_foreseen(self.asked, self._roster, done, waits=waits)

    def why_spent(self, done: Sequence[RoundReport]) -> str | None:
        if not self.asked.privacy.is_differential:
            return None
        assert self._roster is not None
        return DifferentialPrivacy(self.asked, self._roster.able, done).reason_to_stop()

    def parts(self, endpoints: Endpoints, job: TrainJob) -> Parts:  # noqa: ARG002
        if self.asked.client_memory_mb is not None:
            raise UsageError(
                "--client-memory gives clients containers of their own sizes, and with --fabric a "
                "client has what its endpoint has: leave it out, and say memory_max for each "
                "endpoint in the fabric file"
            )
        roster = self.asked.roster
        homes = endpoints.homes(roster, self.asked.data is not None)
        return parts_of_cohort(endpoints, homes, roster=roster, asked=self.asked.asked)

    def _assignment(self, partition: Partition) -> Assignment:
        if self._data is None:
            return partition.assignment(self.asked.roster)
        sizes = self._counts
        if sizes is None:
            sizes = assumed_sizes(partition.samples, self.asked.roster)
        # Nobody here knows which samples they are.
        return Assignment(sizes=sizes, order=lambda: np.empty(0, np.int64))

    def run(self, *parts: Any) -> RoundLoop:
        assert self._roster is not None
        kind = FederatedRun if self.asked.lateness is None else LateRun
        if not strategy_of(self.asked).awaits_all:
            kind = AsynchronousRun
        return kind(self.asked, self._roster, *parts)
