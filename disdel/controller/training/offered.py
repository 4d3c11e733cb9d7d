"""What is planned for a training at what a platform offers, before anything is started."""

from __future__ import annotations

import time
from typing import Protocol

from disdel.controller.planning.endpoint_plans import (
    AtEndpoint,
    check_endpoints,
    for_all,
    parts_of_training,
    plan_endpoints,
)
from disdel.controller.planning.networks import choose_network
from disdel.controller.planning.planning import ask
from disdel.controller.training.splits import (
    job_dataset,
    job_partition,
    job_samples,
    with_clients,
)
from disdel.data import DatasetArrays, describe_dataset, load_arrays
from disdel.host.command import began_s
from disdel.planner.plan import make_plan
from disdel.planner.question import Question
from disdel.platforms.endpoints import Endpoints
from disdel.runtimes.registry import check_runtime
from disdel.settings import Settings
from disdel.types import Capacity, Plan, TrainJob


class Asking(Protocol):
    """The planner's questions of a job at a place, or at an endpoint with its part of it."""

    def __call__(
        self,
        job: TrainJob,
        capacity: Capacity,
        settings: Settings,
        at: AtEndpoint | None = None,
    ) -> list[Question]: ...


def asking(job: TrainJob, settings: Settings) -> tuple[TrainJob, Asking]:
    """The job as its data set and its clients have it, and how the planner is asked of it.

    Raises:
        UsageError: the job cannot be done as asked.
    """
    check_runtime(job.runtime, job.precision)
    data_dir = settings.data_dir
    dataset = job_dataset(describe_dataset(job.dataset, data_dir), job)

    def load() -> DatasetArrays:
        return load_arrays(job.dataset, data_dir)

    partition = job_partition(job, dataset, lambda: job_samples(load(), job))
    job = with_clients(job, partition)
    looked_s = time.monotonic()
    network = choose_network(job, dataset, load)
    # What trying it out took, the run that is planned need not spend.
    spent_s = looked_s - began_s()

    def ask_for(
        job: TrainJob, capacity: Capacity, settings: Settings, at: AtEndpoint | None = None
    ) -> list[Question]:
        part = dataset if at is None else at.part_of(dataset)
        counts = partition.counts if at is None else at.counts or partition.counts
        return ask(job, part, network, capacity, settings, counts=counts, spent_s=spent_s)

    return job, ask_for


def plan_at(endpoints: Endpoints, job: TrainJob, settings: Settings) -> tuple[Question, Plan]:
    """The plan of a job on several endpoints.

    Raises:
        UsageError: the job cannot be done as asked.
    """
    check_endpoints(job, endpoints)
    settings = for_all(endpoints, settings)
    job, ask_for = asking(job, settings)

    def together(job: TrainJob) -> tuple[Question, Plan]:
        return make_plan(ask_for(job, endpoints.capacity, settings))

    def one(job: TrainJob, at: AtEndpoint) -> tuple[Question, Plan]:
        return make_plan(ask_for(job, at.endpoint.capacity, at.endpoint.settings, at))

    parts = parts_of_training(endpoints, job.clients)
    asked, plan, _ = plan_endpoints(job, endpoints, parts, one=one, together=together)
    return asked, plan
