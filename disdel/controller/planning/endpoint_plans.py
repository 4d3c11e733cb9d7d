"""The plan of a run on several endpoints: how many containers each has, and of which size.

Each endpoint is planned for as a platform of its own, by its own limits and by what its containers
have taken before, with the part of the clients that trains there. What is one for all of a run, its
runtime, its rounds and where it averages, is planned for all endpoints together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from disdel.errors import PlanError, UsageError
from disdel.planner.question import Question
from disdel.planner.timing import step_s
from disdel.platforms.endpoints import Endpoint, Endpoints, Homes
from disdel.settings import Settings
from disdel.types import DatasetSpec, EndpointPlan, InferPlan, Plan, TrainJob

# What a platform that does not tell its CPUs is taken to have.
_ASSUMED_CPUS = 4

Counts = Callable[[int], tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AtEndpoint:
    """What is planned for an endpoint alone.

    Attributes:
        endpoint: the one.
        share: of all samples that it works on.
        samples: of each client there, where that is known already.
    """

    endpoint: Endpoint
    share: float
    samples: tuple[int, ...] | None = None

    @property
    def counts(self) -> Counts | None:
        samples = self.samples
        return None if samples is None else lambda clients: samples[:clients]

    def part_of(self, dataset: DatasetSpec) -> DatasetSpec:
        """The data set with as many samples as are worked on here."""

        def part(samples: int) -> int:
            return min(samples, math.ceil(samples * self.share))

        return replace(
            dataset,
            train_samples=part(dataset.train_samples),
            test_samples=part(dataset.test_samples),
            validation_samples=part(dataset.validation_samples),
        )


PlanOne = Callable[[TrainJob, AtEndpoint], tuple[Question, Plan]]
PlanAll = Callable[[TrainJob], tuple[Question, Plan]]


def for_all(endpoints: Endpoints | None, settings: Settings) -> Settings:
    """The settings of what is one for all endpoints: compiled networks are for the CPUs of each."""
    if endpoints is None:
        return settings
    kinds = sorted({name for one in endpoints.all for name in one.settings.architectures})
    return replace(settings, arch=",".join(kinds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What of a round each endpoint is expected to do.

    Attributes:
        clients: by endpoint; of a training as shares of 1.
        is_counted: whether they are clients.
        homes: where each client belongs, of a training.
    """

    clients: Mapping[str, float]
    is_counted: bool
    homes: Homes | None = None


def parts_of_cohort(endpoints: Endpoints, homes: Homes, *, roster: int, asked: int) -> Parts:
    """How many of the clients that a round asks are expected at each endpoint.

    Those that belong nowhere go where they are dealt out to: by time to all, by the CPUs of each,
    by price to the cheapest.
    """
    ratio = asked / roster
    found = dict.fromkeys((one.name for one in endpoints.all), 0.0)
    unbound = float(roster)
    for group, count in homes.counts():
        unbound -= count
        there = [one for one in endpoints.all if one.name in group]
        # Of a group none of which answers, the others take what may move.
        for one in there or endpoints.all:
            found[one.name] += ratio * count * _share(one, there or endpoints.all)
    free = for_unbound(endpoints)
    for one in free:
        found[one.name] += ratio * unbound * _share(one, free)
    return Parts(clients=found, is_counted=True)


def parts_of_training(endpoints: Endpoints, clients: int | None) -> Parts:
    """The share of the clients that each endpoint has, where so many have been asked for.

    Raises:
        UsageError: the fabric file binds clients, and nobody has said how many there are.
    """
    homes = None if clients is None else endpoints.homes(clients, False)
    if clients is None and endpoints.binds:
        raise UsageError(
            "the fabric file binds clients to endpoints, and a training has as many as workers "
            "unless their number is said: add --clients N"
        )
    if homes is not None and clients is not None:
        parts = parts_of_cohort(endpoints, homes, roster=clients, asked=clients)
        shares = {name: count / clients for name, count in parts.clients.items()}
        return Parts(clients=shares, is_counted=False, homes=homes)
    free = for_unbound(endpoints)
    shares = {one.name: _share(one, free) if one in free else 0.0 for one in endpoints.all}
    return Parts(clients=shares, is_counted=False)


def for_unbound(endpoints: Endpoints) -> Sequence[Endpoint]:
    """The endpoints that what belongs nowhere is dealt to."""
    if endpoints.place == "time":
        return endpoints.all
    return (cheapest(endpoints),)


def cheapest(endpoints: Endpoints) -> Endpoint:
    """The endpoint that takes least for a GB·s.

    Raises:
        UsageError: the price of one is not known.
    """
    unknown = [one.name for one in endpoints.all if one.price is None]
    if unknown:
        raise UsageError(
            f"by price clients cannot be placed: what endpoint {unknown[0]} takes is not known; "
            "say it in the fabric file (price_gb_s = 0 where it costs nothing)"
        )
    return min(endpoints.all, key=lambda one: one.price.per_gb_s if one.price else math.inf)


def _share(one: Endpoint, among: Sequence[Endpoint]) -> float:
    return weight_of(one) / sum(map(weight_of, among))


def weight_of(endpoint: Endpoint) -> int:
    """How much of what is dealt out by time an endpoint gets, beside others."""
    cpus = endpoint.capacity.cpus or _ASSUMED_CPUS
    return min(cpus, endpoint.most_containers or cpus)


def check_endpoints(job: TrainJob, endpoints: Endpoints) -> None:
    """Refuse what does not go with several endpoints.

    Raises:
        UsageError: something does not.
    """
    if job.workers_policy != "fixed":
        raise UsageError(
            f"--workers-policy {job.workers_policy} changes the number of workers between rounds, "
            "and with --fabric each has its endpoint: leave one of the two out"
        )
    if endpoints.place == "price":
        cheapest(endpoints)


def plan_endpoints(
    job: TrainJob, endpoints: Endpoints, parts: Parts, *, one: PlanOne, together: PlanAll
) -> tuple[Question, Plan, dict[str, Question]]:
    """The plan of all endpoints, its question, and the questions of each.

    Args:
        job: what the user asked for.
        endpoints: those that answer.
        parts: what each is expected to do.
        one: plans for an endpoint.
        together: plans a job with so many workers for all of them.

    Raises:
        PlanError: an endpoint has no room for its part.
        UsageError: fewer containers are asked for than endpoints have clients.
    """
    # What a seed gives is one model: the runtime is that of the run, wherever it trains.
    runtime = job.runtime or together(replace(job, workers=None))[1].runtime
    job = replace(job, runtime=runtime)
    wanted = _wanted(job, endpoints, parts, one)
    question, plan = together(replace(job, workers=sum(wanted.values())))
    if parts.homes is not None and endpoints.binds:
        plan = replace(plan, turns=_turns(question, plan, parts.homes, endpoints, wanted))
    first, plans, threads = 0, [], []
    questions: dict[str, Question] = {}
    for endpoint in endpoints.all:
        count = wanted[endpoint.name]
        workers = tuple(range(first, first + count))
        first += count
        asked, planned = _planned(*_part(job, plan, parts, endpoint, workers), one)
        questions[endpoint.name] = asked
        plans.append(_endpoint_plan(endpoint, asked, planned, workers, parts))
        threads.append(planned.threads or 1)
    busy = [one for one in plans if one.workers]
    plan = replace(
        plan,
        endpoints=tuple(plans),
        # A request says how many, wherever it is sent.
        threads=None if plan.threads is None else min(threads),
        predicted_s=max(one.predicted_s for one in busy),
        gb_s=round(sum(one.gb_s for one in busy), 1),
        invocations=sum(one.invocations for one in busy),
        reasons=tuple(_reasons(job, plan, busy, endpoints)),
    )
    return question, plan, questions


def _reasons(
    job: TrainJob, plan: Plan, plans: Sequence[EndpointPlan], endpoints: Endpoints
) -> list[str]:
    first, *reasons = plan.reasons
    if job.workers is None:
        first = f"{plan.workers} in all: as many as are best at each endpoint by itself"
    reasons.insert(0, first)
    if endpoints.place == "price":
        name = cheapest(endpoints).name
        reasons.append(f"clients that belong to no endpoint train at {name}, the cheapest")
    names = {one.endpoint for one in plans}
    kinds = sorted({one.settings.arch for one in endpoints.all if one.name in names})
    if len(kinds) > 1:
        reasons.append(
            f"the endpoints' CPUs are of {' and '.join(kinds)}: where a client trains may decide "
            "on the last bits of its update"
        )
    cut = {one.endpoint: one.micro_batches for one in plans}
    if len(set(cut.values())) > 1:
        told = ", ".join(f"{parts} at {name}" for name, parts in cut.items())
        reasons.append(
            f"batches are cut into parts by the memory of each endpoint ({told}): where a client "
            "trains may decide on the last bits of its update"
        )
    return reasons


def _turns(
    question: Question,
    plan: Plan,
    homes: Homes,
    endpoints: Endpoints,
    wanted: Mapping[str, int],
) -> tuple[tuple[int, ...], ...]:
    """The clients that each worker trains, who belongs to an endpoint there."""
    names = [one.name for one in endpoints.all for _ in range(wanted[one.name])]
    busy, turns = [0] * len(names), [list[int]() for _ in names]
    steps = [one.steps for one in question.work(plan.client_samples)]
    # Those with least choice first, and of these the longest.
    order = sorted(range(len(steps)), key=lambda c: (homes.of(c) is None, -steps[c], c))
    for client in order:
        there = homes.of(client)
        able = [w for w, name in enumerate(names) if there is None or name in there]
        worker = min(able or range(len(names)), key=lambda w: (busy[w], len(turns[w]), w))
        turns[worker].append(client)
        busy[worker] += steps[client]
    return tuple(tuple(sorted(clients)) for clients in turns)


def _wanted(job: TrainJob, endpoints: Endpoints, parts: Parts, one: PlanOne) -> dict[str, int]:
    """How many containers each endpoint has."""
    shares = {name: share for name, share in parts.clients.items() if share > 0}
    most = {e.name: e.capacity.concurrency for e in endpoints.all}
    if job.workers is None:
        wanted = {}
        for endpoint in endpoints.all:
            wanted[endpoint.name] = 0
            if endpoint.name in shares:
                _, planned = _planned(*_alone(job, parts, endpoint), one)
                wanted[endpoint.name] = planned.workers
        return wanted
    if job.workers < len(shares):
        raise UsageError(
            f"{job.workers} containers are asked for, and {len(shares)} endpoints have clients "
            f"({', '.join(sorted(shares))}): ask for {len(shares)} or more"
        )
    room = sum(most[name] for name in shares)
    if job.workers > room:
        told = ", ".join(f"{name} {most[name]}" for name in shares)
        raise PlanError(
            f"{job.workers} containers are asked for, and the endpoints may hold {room} ({told}): "
            "ask for fewer, or raise containers in the fabric file"
        )
    return dict.fromkeys(parts.clients, 0) | dealt(job.workers, shares, most)


def dealt(containers: int, shares: Mapping[str, float], most: Mapping[str, int]) -> dict[str, int]:
    """Each endpoint one, and the others in turn to that with most to do for each container."""
    wanted = dict.fromkeys(shares, 1)
    for _ in range(containers - len(shares)):
        free = [name for name in shares if wanted[name] < most[name]]
        wanted[max(free, key=lambda name: shares[name] / wanted[name])] += 1
    return wanted


def _alone(job: TrainJob, parts: Parts, endpoint: Endpoint) -> tuple[TrainJob, AtEndpoint]:
    """The job with an endpoint's part of it, before anybody knows the containers of the others."""
    share = parts.clients[endpoint.name]
    if parts.is_counted:
        job = replace(job, clients=max(1, math.ceil(share)))
        return job, AtEndpoint(endpoint=endpoint, share=1.0)
    return replace(job, clients=None), AtEndpoint(endpoint=endpoint, share=share)


def _part(
    job: TrainJob,
    plan: Plan,
    parts: Parts,
    endpoint: Endpoint,
    workers: tuple[int, ...],
) -> tuple[TrainJob, AtEndpoint]:
    """The job with what an endpoint's workers do of it; of one without any, what one would."""
    count = max(1, len(workers))
    job = replace(job, workers=count)
    if parts.is_counted:
        clients = max(count, math.ceil(parts.clients[endpoint.name]))
        at = AtEndpoint(endpoint=endpoint, share=count / plan.workers)
        return replace(job, clients=clients), at
    theirs = [client for worker in workers or (0,) for client in plan.turns[worker]]
    samples = tuple(plan.client_samples[client] for client in theirs)
    at = AtEndpoint(endpoint=endpoint, share=count / plan.workers, samples=samples)
    return replace(job, clients=len(samples)), at


def _planned(job: TrainJob, at: AtEndpoint, plan: PlanOne) -> tuple[Question, Plan]:
    try:
        return plan(job, at)
    except UsageError as error:
        error.reworded(f"endpoint {at.endpoint.name}: {error}")
        raise


def _endpoint_plan(
    endpoint: Endpoint,
    question: Question,
    plan: Plan,
    workers: tuple[int, ...],
    parts: Parts,
) -> EndpointPlan:
    batch = question.batch_of(max(plan.client_samples))
    return plan_of_endpoint(
        endpoint,
        plan,
        workers,
        clients=round(parts.clients[endpoint.name], 1) if parts.is_counted else len(workers),
        micro_batches=plan.micro_batches,
        block_steps=plan.block_steps,
        step_s=step_s(
            question.runtime, question.facts, batch, plan.threads or 1, plan.micro_batches
        ),
        cold_start_s=question.runtime.cold_start_s,
    )


def plan_of_endpoint(
    endpoint: Endpoint,
    plan: Plan | InferPlan,
    workers: tuple[int, ...],
    *,
    clients: float,
    step_s: float,
    cold_start_s: float,
    micro_batches: int = 1,
    block_steps: int = 1,
) -> EndpointPlan:
    """A plan that was made for an endpoint alone, as its part of a whole, at its price."""
    price = endpoint.price
    return EndpointPlan(
        endpoint=endpoint.name,
        platform=endpoint.platform,
        workers=workers,
        clients=clients,
        memory_mb=endpoint.size_mb(plan.memory_mb),
        memory_max_mb=plan.memory_max_mb,
        pool_mb=plan.pool_mb,
        timeout_s=plan.timeout_s,
        timeout_max_s=plan.timeout_max_s,
        micro_batches=micro_batches,
        block_steps=block_steps,
        step_s=step_s,
        cold_start_s=cold_start_s,
        predicted_s=plan.predicted_s,
        gb_s=plan.gb_s,
        invocations=plan.invocations,
        usd_per_gb_s=None if price is None else price.per_gb_s,
        usd_per_invocation=None if price is None else price.per_invocation,
        usd=None if price is None else price.usd(plan.gb_s, plan.invocations),
    )
