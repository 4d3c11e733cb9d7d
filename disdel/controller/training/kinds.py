"""What sets the runs of one command apart from those of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from disdel.controller.planning.endpoint_plans import Parts, parts_of_training
from disdel.controller.planning.strategy_checks import check_waits
from disdel.controller.training.rounds import RoundLoop
from disdel.controller.training.splits import with_clients
from disdel.controller.training.train_run import TrainRun
from disdel.data.partitioners import Partition
from disdel.planner.question import Federation
from disdel.platforms.endpoints import Endpoints
from disdel.strategies.base import Strategy
from disdel.types import FederateJob, ModelSpec, RoundReport, TrainJob
from disdel.types.assignment import Assignment

Counts = Callable[[int], tuple[int, ...]]


class RunKind:
    """A training; subclasses are what else is done in rounds."""

    command: ClassVar[str] = "train"

    @property
    def federation(self) -> FederateJob | None:
        """What was asked for, where the training that it is planned as does not say it."""
        return None

    @property
    def knows_samples(self) -> bool:
        """Whether it is known before the run how many samples its containers hold."""
        return True

    def check_strategy(self, strategy: Strategy) -> None:
        """Refuse a strategy that such runs have no use for.

        Raises:
            UsageError: it is one.
        """
        check_waits(strategy)

    def dealt(self, job: TrainJob, partition: Partition) -> TrainJob:
        """The job, once it is known how many clients the samples are dealt to.

        Raises:
            PartitionError: the user wants another number.
        """
        return with_clients(job, partition)

    def settled(self, job: TrainJob, model: ModelSpec) -> TrainJob:  # noqa: ARG002
        """The job, once its network is known."""
        return job

    def planned(self, partition: Partition) -> tuple[Counts, Federation | None]:
        """The samples of each of so many clients, for the planner, and what else it should know."""
        return partition.counts, None

    def assignment(self, partition: Partition, clients: int) -> Assignment:
        """Who owns which samples, of so many clients that are planned for."""
        return partition.assignment(clients)

    def file_digests(self) -> dict[str, str]:
        """Of files that its rounds go by, beside samples and strategy: by their names."""
        return {}

    def why_spent(self, done: Sequence[RoundReport]) -> str | None:  # noqa: ARG002
        """Why what is planned has nothing left for a round after these; None where it has."""
        return None

    def foreseen(self, done: int) -> str | None:  # noqa: ARG002
        """What is told of rounds to come, behind so many: they may come to a bad end.

        Raises:
            UsageError: they will.
        """
        return None

    def check_places(self, endpoints: Endpoints | None) -> None:
        """Refuse what clients cannot do where they are, at one platform or at several endpoints.

        Raises:
            UsageError: they cannot.
        """

    def parts(self, endpoints: Endpoints, job: TrainJob) -> Parts:
        """What each endpoint of a platform that is several is expected to do."""
        return parts_of_training(endpoints, job.clients)

    def files(self) -> Mapping[str, bytes]:
        """What its actions need beside the library, by path in their zip."""
        return {}

    def run(self, *parts: Any) -> RoundLoop:
        """The run, of what `RoundLoop` takes."""
        return TrainRun(*parts)


TRAINING = RunKind()
