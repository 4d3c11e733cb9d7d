"""Containers of several sizes, for clients of a federation that may have so much memory each.

A client's batches are cut into as few parts as fit into its own size, wherever it trains, since
that decides on its bits. Each size has containers of its own, if there is room for so many; else
clients of a larger one share those of the next smaller, into which their steps must fit as they
are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from disdel.errors import InsufficientMemory, PlanError
from disdel.planner.candidates import Candidate, candidates, feasible, in_least_memory
from disdel.planner.cpu_shares import turns_of
from disdel.planner.limits import to_next_size
from disdel.planner.plan import make_plan
from disdel.planner.question import Question, SizedClients
from disdel.planner.timing import step_s
from disdel.types import ContainerSize, Plan
from disdel.types.units import mb_ceil
from disdel.types.words import counted

_FLAG = "--client-memory"


@dataclass(frozen=True, slots=True)
class _Group:
    """Clients that share containers: of which sizes, and what one of each needs at most."""

    clients: tuple[SizedClients, ...]
    needs: tuple[Candidate, ...]

    @property
    def memory_mb(self) -> int:
        return self.clients[0].memory_mb

    @property
    def micro_batches(self) -> int:
        return self.needs[0].micro_batches

    @property
    def share(self) -> float:
        return sum(one.share for one in self.clients)

    @property
    def most_workers(self) -> float:
        """Of more containers than it has clients, some would idle."""
        return max(1.0, sum(one.clients for one in self.clients))

    def holds(self, other: _Group) -> bool:
        """Whether clients of a larger size would train here as they do in their own."""
        return all(
            need.micro_batches == self.micro_batches
            and mb_ceil(need.estimate.total) <= self.memory_mb
            for need in other.needs
        )

    @property
    def needs_mb(self) -> int:
        return max(mb_ceil(need.estimate.total) for need in self.needs)

    def and_clients_of(self, other: _Group) -> _Group:
        return _Group(self.clients + other.clients, self.needs + other.needs)


def plan_by_sizes(questions: Sequence[Question]) -> tuple[Question, Plan]:
    """As `make_plan`, also for a federation whose clients have memory of their own.

    Raises:
        InsufficientMemory: a client's step does not fit into its memory, or the containers of all
            sizes do not fit into that of all together.
        PlanError: another limit is in the way.
    """
    federation = questions[0].federation
    if federation is None or not federation.sizes:
        return make_plan(questions)
    able = [one for one in questions if all(_need(one, size) for size in federation.sizes)]
    if not able:
        raise _refusal(questions, federation.sizes)
    chosen, alike = make_plan([_without_pool(one) for one in able])
    question = next(one for one in able if one.shipped is chosen.shipped)
    groups = [_Group((size,), (_needed(question, size),)) for size in federation.sizes]
    asked = question.job.workers
    most = asked or min(max(alike.workers, len(groups)), question.capacity.concurrency)
    _, alike = make_plan([_on(question, most)])
    room_mb = question.pool_mb - alike.collect_memory_mb
    groups = _within(groups, most, room_mb, is_asked=asked is not None)
    counts = _containers(groups, most, room_mb)
    if asked is not None and sum(counts) < asked:
        raise InsufficientMemory(
            f"{asked} containers for clients of {_sizes(groups)} MB ({_FLAG}) have no room in the "
            f"{room_mb:.0f} MB for all, and {sum(counts)} have: use --containers {sum(counts)} or "
            "fewer, or smaller sizes"
        )
    return question, _plan(question, groups, counts)


def _need(question: Question, size: SizedClients) -> Candidate | None:
    """One container for the largest of these clients, in as few parts as fit; None where none do.

    A container has its clients' memory, be it more than they need.
    """
    allowed = question.capacity.memory_min_mb <= size.memory_mb <= question.memory_max_mb
    return feasible(_alone(question, size)) if allowed else None


def _needed(question: Question, size: SizedClients) -> Candidate:
    need = _need(question, size)
    assert need is not None
    return need


def _alone(question: Question, size: SizedClients) -> Question:
    """The question of one container for these clients, as if nothing had been measured before.

    In how many parts they take their batches may not hang on that: a seed promises one model.
    """
    job = question.job
    one = _without_pool(question)
    return replace(
        one,
        observations=(),
        job=replace(
            job, workers=1, clients=1, batch_size=min(job.batch_size, size.batch_size), fan_in=None
        ),
        counts=size.samples,
        limits=replace(one.limits, memory_max_mb=size.memory_mb),
    )


def _on(question: Question, workers: int) -> Question:
    """The question of so many containers, whatever room there is."""
    job = replace(question.job, workers=workers, clients=max(question.job.clients or 1, workers))
    return _without_pool(replace(question, job=job))


def _without_pool(question: Question) -> Question:
    """The question, as if any number of containers fitted: they are of other sizes than one."""
    return replace(
        question,
        limits=replace(question.limits, pool_memory_mb=None),
        capacity=replace(question.capacity, pool_memory_mb=None),
    )


def _refusal(questions: Sequence[Question], sizes: Sequence[SizedClients]) -> PlanError:
    """Why the clients of a size have no plan on any runtime; of these, that which needs least."""
    for size in sizes:
        if any(_need(question, size) for question in questions):
            continue
        clients, capacity = f"clients of {size.memory_mb} MB ({_FLAG})", questions[0].capacity
        most_mb = questions[0].memory_max_mb
        if size.memory_mb > most_mb:
            return InsufficientMemory(
                f"{clients} have more than the {most_mb} MB that an action may have: give them "
                f"{most_mb} at most"
            )
        if size.memory_mb < capacity.memory_min_mb:
            return InsufficientMemory(
                f"{clients} have less than the {capacity.memory_min_mb} MB that an action has at "
                f"least: give them {capacity.memory_min_mb} or more"
            )
        least = min(
            (in_least_memory(_alone(one, size)) for one in questions),
            key=lambda candidate: candidate.memory_mb,
        )
        if least.memory_mb <= size.memory_mb:
            # It is another limit than memory.
            return _other_refusal(questions, size)
        framework, data, model, step, margin = least.estimate.parts_mb
        whole = "with single samples at once" if least.micro_batches > 1 else "with whole batches"
        return InsufficientMemory(
            f"{clients} have no room for a step: {whole} it needs {least.memory_mb} MB "
            f"({framework} for the framework, {data} data, {model} model, {step} training step, "
            f"{margin} margin{to_next_size(least.estimate, least.memory_mb)}); give them "
            f"{least.memory_mb} or more, or take a smaller --model"
        )
    # Each size fits on some runtime, and none fits all.
    told = ", ".join(str(size.memory_mb) for size in sizes)
    return InsufficientMemory(
        f"no runtime trains in all of {told} MB ({_FLAG}): give the smallest more, or name the "
        "runtime (--runtime) to see what it needs"
    )


def _other_refusal(questions: Sequence[Question], size: SizedClients) -> PlanError:
    try:
        make_plan([_alone(one, size) for one in questions])
    except PlanError as error:
        return error
    raise AssertionError("a plan was refused that can be made")


def _within(groups: list[_Group], most: int, room_mb: float, *, is_asked: bool) -> list[_Group]:
    """Groups of which at most so many containers, one each, fit into the room.

    Raises:
        PlanError: they cannot be made fewer.
    """
    while len(groups) > most or sum(one.memory_mb for one in groups) > room_mb:
        pairs = [
            (larger.memory_mb - smaller.memory_mb, place)
            for place, (smaller, larger) in enumerate(pairwise(groups))
            if smaller.holds(larger)
        ]
        if not pairs:
            raise _too_many(groups, most, room_mb, is_asked=is_asked)
        _, place = min(pairs)
        groups = [
            *groups[:place],
            groups[place].and_clients_of(groups[place + 1]),
            *groups[place + 2 :],
        ]
    return groups


def _too_many(groups: Sequence[_Group], most: int, room_mb: float, *, is_asked: bool) -> PlanError:
    told = f"clients of {_sizes(groups)} MB ({_FLAG}) need containers of {len(groups)} sizes, since"
    told += " steps of the larger do not fit into the smaller as they are"
    if len(groups) > most:
        limit = f"--containers is {most}" if is_asked else f"the platform runs {most} at once"
        change = f"use --containers {len(groups)} or more" if is_asked else "give fewer sizes"
        return PlanError(f"{told}, and {limit}: {change}")
    taken_mb = sum(one.memory_mb for one in groups)
    return InsufficientMemory(
        f"{told}: one of each takes {taken_mb} MB, and there is room for {room_mb:.0f} MB in all; "
        "give fewer or smaller sizes"
    )


def _sizes(groups: Sequence[_Group]) -> str:
    return ", ".join(str(size.memory_mb) for group in groups for size in group.clients)


def _containers(groups: Sequence[_Group], most: int, room_mb: float) -> list[int]:
    """How many each group has: one, and others where most is to do for each."""
    counts = [1] * len(groups)
    room_mb -= sum(one.memory_mb for one in groups)
    while sum(counts) < most:
        able = [
            place
            for place, one in enumerate(groups)
            if one.memory_mb <= room_mb and counts[place] < one.most_workers
        ]
        if not able:
            break
        busiest = max(able, key=lambda place: groups[place].share / counts[place])
        counts[busiest] += 1
        room_mb -= groups[busiest].memory_mb
    return counts


def _plan(question: Question, groups: Sequence[_Group], counts: Sequence[int]) -> Plan:
    workers = sum(counts)
    asked = _on(question, workers)
    _, plan = make_plan([asked])
    [alike] = candidates(asked)
    # From the largest on, so that what one worker does for all has room.
    sized, first = [], 0
    for group, count in reversed(list(zip(groups, counts, strict=True))):
        sized.append(_size(group, range(first, first + count)))
        first += count
    # What each group does, in seconds of one of its containers that has its CPUs to itself.
    own_s = [alike.timing.trained_s * _slowness(asked, alike, group) for group in groups]
    longest_s = max(theirs_s / count for theirs_s, count in zip(own_s, counts, strict=True))
    longest_s = max(longest_s, sum(own_s) / question.cpus)
    beside_s = (alike.timing.billed_s - alike.timing.trained_s) / workers
    crowded = max(1.0, workers / question.cpus)
    gb_s = alike.collect_gb_s + sum(
        group.memory_mb / 1024 * (theirs_s * crowded + count * beside_s)
        for group, theirs_s, count in zip(groups, own_s, counts, strict=True)
    )
    even_s = alike.timing.round_s * alike.rounds
    return replace(
        plan,
        memory_mb=sized[0].memory_mb,
        micro_batches=sized[0].micro_batches,
        block_steps=sized[0].block_steps,
        timeout_s=question.timeout_s(longest_s / alike.rounds),
        pool_mb=None if math.isinf(question.pool_mb) else int(question.pool_mb),
        predicted_s=round(plan.predicted_s - even_s + longest_s, 1),
        gb_s=round(gb_s, 1),
        # The first is on how many there are, which is told by size.
        reasons=(*_reasons(groups, counts), *plan.reasons[1:]),
        sizes=tuple(sized),
    )


def _slowness(question: Question, alike: Candidate, group: _Group) -> float:
    """A group's share of all steps, and how many times as long they take in its containers."""

    def one_step_s(micro_batches: int) -> float:
        batch = question.batch_of(max(alike.client_samples))
        return step_s(question.runtime, question.facts, batch, 1, micro_batches)

    crowded = turns_of(question, alike.workers, alike.memory_mb)
    alone = turns_of(question, 1, group.memory_mb)
    cut = one_step_s(group.micro_batches) / one_step_s(alike.micro_batches)
    return group.share * cut * alone / crowded


def _size(group: _Group, workers: range) -> ContainerSize:
    return ContainerSize(
        memory_mb=group.memory_mb,
        clients_mb=tuple(one.memory_mb for one in group.clients),
        workers=tuple(workers),
        micro_batches=group.micro_batches,
        block_steps=min(need.block_steps for need in group.needs),
        needs_mb=group.needs_mb,
    )


def _reasons(groups: Sequence[_Group], counts: Sequence[int]) -> list[str]:
    told = []
    for group, count in zip(groups, counts, strict=True):
        cut = "whole batches"
        if group.micro_batches > 1:
            cut = f"batches in {group.micro_batches} parts"
        told.append(
            f"{counted(count, 'container')} of {group.memory_mb} MB for clients of "
            f"{_sizes([group])} MB ({_FLAG}): with {cut} they need {group.needs_mb} MB"
        )
    return told
