"""Where the containers of each worker are, and what they may have there.

On one platform that is the same for all workers. Of several endpoints each has limits of its own,
and a worker whose endpoint does not answer moves to another: what it works on is in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from disdel.controller.invoking.recovery import Attempt
from disdel.types import ContainerSize, EndpointPlan, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Berth:
    """What a worker's containers are planned with.

    Attributes:
        planned: how each of them begins.
        memory_max_mb: the most memory that an action can have.
        pool_mb: memory of all containers there together; None where nothing bounds it.
        endpoint: where they are, of a platform that is several.
        timeout_s: the time limit of an action; None for what its spec says.
        timeout_max_s: the longest that it may have, likewise.
        size_mb: the memory limit of an action that wants so many MB.
    """

    planned: Attempt
    memory_max_mb: int
    pool_mb: int | None
    endpoint: str | None = None
    timeout_s: float | None = None
    timeout_max_s: float | None = None
    size_mb: Callable[[int], int] = field(default=int, repr=False)


class Berths:
    """The berths of all workers.

    Args:
        shared: that of those for whom there is no other.
        endpoints: by their names.
        homes: the endpoint of each worker.
        answers: whether an endpoint does.
        collect: the endpoints in the order in which they are to make averages.
        own: those of workers whose containers are of another size than the others'.
    """

    def __init__(
        self,
        shared: Berth,
        *,
        endpoints: Mapping[str, Berth] | None = None,
        homes: Mapping[int, str] | None = None,
        answers: Callable[[str], bool] = lambda _: True,
        collect: Sequence[str] = (),
        own: Mapping[int, Berth] = MappingProxyType({}),
    ) -> None:
        self.shared = shared
        self._own = own
        self._endpoints = dict(endpoints or {})
        self._homes = dict(homes or {})
        self._now = dict(self._homes)
        self._answers = answers
        self._collect = tuple(collect)

    @property
    def are_several(self) -> bool:
        """Whether there is more than one place for containers."""
        return bool(self._endpoints)

    def of(self, worker: int) -> Berth:
        """That of a worker now."""
        name = self._now.get(worker)
        if name is None:
            return self._own.get(worker, self.shared)
        return self._endpoints[name]

    def home(self, worker: int) -> str | None:
        """The endpoint that a worker was planned on."""
        return self._homes.get(worker)

    def answers(self, endpoint: str) -> bool:
        return endpoint in self._endpoints and self._answers(endpoint)

    @property
    def collecting(self) -> Berth | None:
        """Where averages are made: the first that answers; None where there is no choice."""
        there = (name for name in self._collect if self._answers(name))
        name = next(there, next(iter(self._collect), None))
        return None if name is None else self._endpoints[name]

    def move(self, worker: int, among: Collection[str] | None = None) -> bool:
        """Move a worker to an endpoint that answers, that of the fewest; whether there is one.

        Args:
            worker: its number.
            among: the endpoints to choose from; None for all.
        """
        now = self._now.get(worker)
        if now is None:
            return False
        others = [
            name
            for name in (self._endpoints if among is None else among)
            if name != now and self._answers(name)
        ]
        if not others:
            return False
        there = list(self._now.values())
        self._now[worker] = min(others, key=there.count)
        return True

    def settle(self) -> list[int]:
        """Have workers back where they were planned, if that answers; and away from what does not.

        Returns:
            The workers that have moved.
        """
        moved = []
        for worker, home in self._homes.items():
            now = self._now[worker]
            if now != home and self._answers(home):
                self._now[worker] = home
                moved.append(worker)
            elif not self._answers(now) and self.move(worker):
                moved.append(worker)
        return moved


def berths_of(
    plan: Plan,
    *,
    answers: Callable[[str], bool] = lambda _: True,
    sizes: Mapping[str, Callable[[int], int]] = MappingProxyType({}),
) -> Berths:
    """The berths that a plan has.

    Args:
        plan: of a training.
        answers: whether an endpoint does.
        sizes: the memory limits of actions, by endpoint, in the order in which averages are made.
    """
    return Berths(
        Berth(
            planned=_planned(plan),
            memory_max_mb=plan.memory_max_mb,
            pool_mb=plan.pool_mb,
        ),
        endpoints={one.endpoint: berth_at(one, sizes[one.endpoint]) for one in plan.endpoints},
        homes={worker: one.endpoint for one in plan.endpoints for worker in one.workers},
        answers=answers,
        collect=[name for name in sizes if any(one.endpoint == name for one in plan.endpoints)],
        own={worker: _sized(one, plan) for one in plan.sizes for worker in one.workers},
    )


def _planned(size: Plan | EndpointPlan | ContainerSize) -> Attempt:
    return Attempt(
        memory_mb=size.memory_mb, micro_batches=size.micro_batches, block_steps=size.block_steps
    )


def _sized(size: ContainerSize, plan: Plan) -> Berth:
    return Berth(
        planned=_planned(size),
        # It is what its clients have: they get no more.
        memory_max_mb=size.memory_mb,
        pool_mb=plan.pool_mb,
    )


def berth_at(plan: EndpointPlan, size_mb: Callable[[int], int]) -> Berth:
    """What is planned for an endpoint, whose actions have the memory limits that `size_mb` says."""
    return Berth(
        planned=_planned(plan),
        memory_max_mb=plan.memory_max_mb,
        pool_mb=plan.pool_mb,
        endpoint=plan.endpoint,
        timeout_s=plan.timeout_s,
        timeout_max_s=plan.timeout_max_s,
        size_mb=size_mb,
    )
