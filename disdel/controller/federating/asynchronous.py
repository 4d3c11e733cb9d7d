"""A federation without rounds that wait: updates become the next version of the model as they come.

Each container takes the next client as soon as it is free, and trains it from the newest version.
An update that has come waits until there are enough for the strategy's `buffer`; by then its
version may be an old one, and the update is stale. What is made of a buffer is a round: it is
scored, saved and shown as any other, while the containers go on.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, TypeVar

import numpy as np

from disdel.controller.federating.cohort import Answered, Cohort
from disdel.controller.federating.cohorts import CohortContainers
from disdel.controller.invoking.background import background
from disdel.errors import RoundFailed, StrategyFailed, UsageError
from disdel.protocol import messages
from disdel.strategies.base import Contribution, Strategy
from disdel.strategies.exact_sum import exponent_for
from disdel.types import FederateJob, LedgerEntry
from disdel.types.federation import POISSON

T = TypeVar("T")
_ToScore = tuple[messages.ScoreRequest, asyncio.Future[messages.ScoreReply]]

# So many clients, one after the other, without an update: it is not the clients.
_MOST_FAILURES = 8
# What a container without a client at its endpoint looks for one after.
_LOOK_S = 0.5
# After so many draws without one.
_MOST_DRAWS = 2


def check_asynchronous(strategy: Strategy, job: FederateJob) -> None:
    """Refuse what does not go with updates that are taken as they come.

    Raises:
        UsageError: something does not.
    """
    why = None
    terms = strategy.terms()
    if strategy.own:
        why = "has its clients keep something from round to round"
    elif strategy.sees_each or type(strategy).sums is not Strategy.sums:
        why = "compares the updates of a round"
    elif terms is not None and (terms.correction or terms.own_correction):
        why = "corrects gradients by what the last round has kept"
    if why is not None:
        raise UsageError(
            f"strategy {strategy.name} {why}, and takes updates as they come: it can do one of both"
        )
    for flag, is_given in (
        ("--deadline", job.deadline_s is not None),
        ("--over-select", job.over_select > 1),
        ("--min-clients", job.min_clients is not None),
        (f"--select {POISSON}", job.select == POISSON),
        (f"--evaluate-clients {job.evaluating.clients}", bool(job.evaluating.clients)),
    ):
        if is_given:
            raise UsageError(
                f"{flag} is for rounds that wait for their clients, and strategy {strategy.name} "
                "takes updates as they come: leave it out (max_staleness of the strategy bounds "
                "how late an update may be, and --evaluate-clients end scores the last model)"
            )


@dataclass(slots=True)
class Asked(Cohort):
    """One client, asked to train; `number` is of the version that is made first after its own."""

    places: Iterable[int] = field(default_factory=count)

    def next_segment(self, worker: int) -> int:  # noqa: ARG002
        """One that no other activation of the run has: a client may be asked twice in a round."""
        return next(iter(self.places))

    @property
    def client(self) -> int:
        [client] = self.turns
        return client

    @property
    def answer(self) -> Answered:
        return self.answered[self.client]


@dataclass(slots=True)
class Buffer:
    """Updates that have come, and no version has taken yet.

    Attributes:
        size: how many make a version.
        max_staleness: by how many versions one may be late; None for any number.
        waiting: in the order in which they have come.
        dropped: why clients' updates do not count, since the last version.
        spent: keys in the store that nobody reads any more.
    """

    size: int
    max_staleness: int | None = None
    waiting: list[Asked] = field(default_factory=list)
    dropped: dict[int, str] = field(default_factory=dict)
    spent: list[str] = field(default_factory=list)

    def take(self, number: int) -> list[Asked] | None:
        """Those that make a version, by client; None where more must come.

        The first to come are taken, and of these it does not matter who was first. Who is too late
        is dropped, and may be asked again.
        """
        if self.max_staleness is not None:
            for asked in self.waiting:
                if (late := number - asked.number) > self.max_staleness:
                    self._drop(asked, late)
            self.waiting = [one for one in self.waiting if one.client in one.answered]
        if len(self.waiting) < self.size:
            return None
        taken, self.waiting = self.waiting[: self.size], self.waiting[self.size :]
        return sorted(taken, key=lambda one: (one.client, one.number))

    def _drop(self, asked: Asked, late: int) -> None:
        self.dropped[asked.client] = (
            f"too late: it began {late} versions ago, and max_staleness is {self.max_staleness}"
        )
        self.spent += asked.spent
        asked.answered.clear()


class AsynchronousContainers(CohortContainers):
    """The containers of a federation whose strategy takes updates as they come.

    What `CohortContainers` takes.
    """

    def __init__(self, *parts: Any, **others: Any) -> None:
        super().__init__(*parts, **others)
        strategy = self.strategy
        # Of one that says neither, each update is a step, however stale.
        self.buffer = Buffer(
            getattr(strategy, "buffer", 1), max_staleness=getattr(strategy, "max_staleness", None)
        )
        # A sum holds one client's change; those of a buffer are added.
        self._largest = self.turns.largest_weight()
        self._exponent = None
        if not strategy.mixes_states:
            self._exponent = exponent_for([self._largest] * self.buffer.size)
        self._newest = 1
        self._drawn: deque[int] = deque()
        self._draws = 0
        self._asked_before: Counter[int] = Counter()
        self._places = count()
        # By container, who trains there; and from which state.
        self._under_way: dict[int, int] = {}
        self._states: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_score: deque[_ToScore] = deque()
        self._failures: list[str] = []
        self._staging = asyncio.Lock()
        self._came = asyncio.Event()
        self._freed = asyncio.Event()

    def go_on(self, ledger: Iterable[LedgerEntry]) -> None:
        """Know what earlier controllers have done: who was asked is not the next to be asked."""
        self._asked_before.update(entry.client for entry in ledger if entry.client is not None)
        self._draws = self._asked_before.total() // self._federation.asked

    def states_in_use(self) -> set[int]:
        return set(self._states.values())

    async def next_buffer(self, number: int) -> list[Asked]:
        """The updates of version `number`, once enough have come; the containers go on.

        Raises:
            RoundFailed: clients fail one after the other.
            StoreLost, DataGone: the store has failed.
        """
        self._newest = number
        if not self._tasks:
            self._tasks = {
                background(self._keep_busy(worker)) for worker in range(self.plan.workers)
            }
        while (taken := self.buffer.take(number)) is None:
            self._came.clear()
            # Too many may have waited for a version that these are too late for.
            self._freed.set()
            await self._unless_one_fails(self._came.wait())
        self._freed.set()
        return taken

    def publish(self, number: int) -> None:
        """From now on, clients begin with version `number`."""
        self._newest = number + 1

    async def stop(self) -> None:
        """Train no further."""
        tasks, self._tasks = self._tasks, set()
        if not tasks:
            return
        unheard = len(self._states)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if unheard:
            await self._close(self._newest)
            self.invoker.journal.overtaken += unheard

    async def finish(self) -> None:
        await self.stop()
        await super().finish()

    async def score(self, request: messages.ScoreRequest) -> messages.ScoreReply:
        """Score a slice in the container that is free first."""
        if not self._tasks:
            return await super().score(request)
        scored: asyncio.Future[messages.ScoreReply] = asyncio.get_running_loop().create_future()
        self._to_score.append((request, scored))
        self._freed.set()

        async def reply() -> messages.ScoreReply:
            return await scored

        return await self._unless_one_fails(reply())

    async def _score_in(self, worker: int) -> None:
        request, scored = self._to_score.popleft()
        try:
            reply = await super().score(replace(request, worker=worker))
        except Exception as failure:
            if not scored.cancelled():
                scored.set_exception(failure)
        else:
            if not scored.cancelled():
                scored.set_result(reply)

    async def _unless_one_fails(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, or the error of a container that has ended meanwhile."""
        working = background(work)
        try:
            done, _ = await asyncio.wait(
                {working, *self._tasks}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {working}:
                task.result()
            return await working
        finally:
            working.cancel()

    async def _keep_busy(self, worker: int) -> None:
        while True:
            if self._to_score:
                await self._score_in(worker)
            elif len(self.buffer.waiting) < self.buffer.size:
                await self._train_next(worker)
            else:
                # Updates come faster than versions are made of them: more would only be staler.
                self._freed.clear()
                await self._freed.wait()

    async def _train_next(self, worker: int) -> None:
        if (client := self._next_client(worker)) is None:
            # It trains no client there: either its endpoint is away, or all of its own are busy.
            await asyncio.sleep(_LOOK_S)
            self._workers.settle()
            return
        self._under_way[worker] = client
        try:
            async with self._staging:
                await self.invoker.write(self._data.make_ready, [*self._under_way.values()])
            asked = self._ask(client)
            self._states[worker] = asked.number - 1
            await self._hands.train(worker, list(asked.turns.values()), asked, None)
        finally:
            del self._under_way[worker]
            self._states.pop(worker, None)
        self._receive(asked)

    def _next_client(self, worker: int) -> int | None:
        """Whoever was drawn next, is not training, and may train where a worker is.

        None where that is nobody, and others wait for a worker elsewhere.
        """
        may_train = self._dealing.trains_at(worker)
        for draws in count():
            elsewhere: list[int] = []
            while self._drawn:
                client = self._drawn.popleft()
                if client in self._under_way.values():
                    continue
                if may_train(client):
                    self._drawn.extendleft(reversed(elsewhere))
                    return client
                elsewhere.append(client)
            if elsewhere and draws == _MOST_DRAWS:
                self._drawn.extend(elsewhere)
                break
            self._draws += 1
            cohort = np.array(self._roster.cohort(self._draws))
            order = np.random.default_rng((self.job.seed, self._draws)).permutation(len(cohort))
            self._drawn.extend(dict.fromkeys([*elsewhere, *cohort[order].tolist()]))
        return None

    def _ask(self, client: int) -> Asked:
        number = self._newest
        turn = self.turns.turn(client, number, turns=self._asked_before[client])
        self._asked_before[client] += 1
        if turn.weight > self._largest:
            raise StrategyFailed(
                f"strategy {self.strategy.name} gives client {client} the weight {turn.weight:g} "
                f"in round {number}, and {self._largest:g} was the largest of all before the first"
            )
        return Asked(number, {client: turn}, self._exponent, places=self._places)

    def _receive(self, asked: Asked) -> None:
        """Let an update wait for its version; where there is none, say why.

        Raises:
            RoundFailed: that is so of each client.
        """
        if asked.answered:
            self._failures.clear()
            self.buffer.waiting.append(asked)
        else:
            self.buffer.dropped |= asked.dropped
            self.buffer.spent += asked.spent
            self._failures += [f"client {client}: {why}" for client, why in asked.dropped.items()]
            if len(self._failures) >= _MOST_FAILURES:
                raise RoundFailed(
                    f"round {self._newest} failed: {len(self._failures)} clients were asked one "
                    f"after the other, and none answered. {'; '.join(self._failures[-5:])}"
                )
        self._came.set()

    def contribution_of(self, asked: Asked, number: int) -> Contribution:
        """What an update stands for in version `number`."""
        result = asked.answer.result
        done = self.turns.contribution(
            asked.client, asked.number, result.samples, result.loss_sum / result.samples
        )
        return replace(done, staleness=number - asked.number)

    def freshness_of(self, asked: Asked, number: int) -> float:
        """What is left of an update's weight in version `number`.

        Raises:
            StrategyFailed: it is no positive number.
        """
        done = self.contribution_of(asked, number)
        fresh, stale = (self.strategy.weight(one) for one in (replace(done, staleness=0), done))
        if not 0 < stale < math.inf:
            raise StrategyFailed(
                f"strategy {self.strategy.name} gives the update of client {asked.client} in round "
                f"{number} the weight {stale} at staleness {done.staleness}, which must be a "
                "number above 0"
            )
        return stale / fresh
