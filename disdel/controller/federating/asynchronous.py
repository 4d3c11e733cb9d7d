"""A federation without rounds that wait: updates become the next version of the model as they come.

Each container takes the next clients as soon as it is free, and trains them from the newest
version. An update that has come waits until there are enough for the strategy's `buffer`; by then
its version may be an old one, and the update is stale. What is made of a buffer is a round: it is
scored, saved and shown as any other, while the containers go on.

An update counts less the staler it is, and a container that waits is not paid for. So none begins
with a version if the next one is there, by all predictions, before it is through. Where clients are
quick, a container takes several at once, as in a round: an activation, a sum and its place in the
average are paid for once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

import numpy as np

from disdel.controller.federating.aging import why_not_aged
from disdel.controller.federating.buffer import Asked, Buffer, UnderWay
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
# After so many draws without a client at a container's endpoint, it waits for one.
_MOST_DRAWS = 2
_AWAY_S = 0.5
# Of an activation of this length, what it takes beside its clients is a few percent.
_HAND_S = 1.0
# Predictions are that good.
_SLACK = 1.25
# A container that waits looks so often whether it had better begin.
_LOOK_S = 5.0


def check_asynchronous(strategy: Strategy, job: FederateJob) -> None:
    """Refuse what does not go with updates that are taken as they come.

    Raises:
        UsageError: something does not.
    """
    why = why_not_aged(strategy)
    if why is not None:
        raise UsageError(
            f"strategy {strategy.name} {why}, and takes updates as they come: it can do one of both"
        )
    for flag, is_given in (
        ("--deadline", job.deadline_s is not None),
        ("--over-select", job.over_select > 1),
        ("--min-clients", job.min_clients is not None),
        (f"--balance {job.balance}", job.balance is not None),
        (f"--select {POISSON}", job.select == POISSON),
        (f"--evaluate-clients {job.evaluating.clients}", bool(job.evaluating.clients)),
    ):
        if is_given:
            raise UsageError(
                f"{flag} is for rounds that wait for their clients, and strategy {strategy.name} "
                "takes updates as they come: leave it out (max_staleness of the strategy bounds "
                "how late an update may be, and --evaluate-clients end scores the last model)"
            )


def buffer_size(strategy: Strategy, containers: int) -> int:
    """The updates of a version; of a strategy that does not say, each is a step."""
    asked = getattr(strategy, "buffer", 1)
    # On few containers, too, a version is a mean.
    return max(2, containers // 2) if asked is None else int(asked)


class AsynchronousContainers(CohortContainers):
    """The containers of a federation whose strategy takes updates as they come.

    What `CohortContainers` takes.
    """

    def __init__(self, *parts: Any, **others: Any) -> None:
        super().__init__(*parts, **others)
        strategy = self.strategy
        # One that does not bound staleness takes any.
        self.buffer = Buffer(
            buffer_size(strategy, self.plan.workers),
            max_staleness=getattr(strategy, "max_staleness", None),
        )
        # A sum holds one client's change; those of a buffer are added.
        self._exponent = None
        if not strategy.mixes_states:
            self._exponent = exponent_for([self.turns.largest_weight] * self._most_updates)
        self._newest = 1
        # Whether a version is being made, or scored, which may end the run.
        self._making = False
        self._drawn: deque[int] = deque()
        self._draws = 0
        self._asked_before: Counter[int] = Counter()
        self._places = count()
        # By container, who trains there; and from which state.
        self._under_way: dict[int, UnderWay] = {}
        self._states: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_score: deque[_ToScore] = deque()
        self._failures: list[str] = []
        self._staging = asyncio.Lock()
        self._came = asyncio.Event()
        self._freed = asyncio.Event()

    @property
    def _most_updates(self) -> int:
        """Of a version; the last of its containers may have added up more than are needed."""
        return 2 * self.buffer.size

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
        self._making = False
        self._freed.set()
        if not self._tasks:
            self._tasks = {
                background(self._keep_busy(worker)) for worker in range(self.plan.workers)
            }
        while (taken := self.buffer.take(number)) is None:
            self._came.clear()
            # Too many may have waited for a version that these are too late for.
            self._freed.set()
            await self._unless_one_fails(self._came.wait())
        self._making = True
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
            elif (better_in_s := self._better_in_s()) is None:
                await self._train_next(worker)
            else:
                self._freed.clear()
                # Python 3.11's wait_for may swallow the cancellation of `stop`.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(better_in_s):
                        await self._freed.wait()

    def _better_in_s(self) -> float | None:
        """When to look again, where what began now would only be stale; None where it would not.

        Whoever publishes a version, or receives an update, lets all look at once.
        """
        if self._making or self.buffer.is_full:
            return _LOOK_S
        usual_s = self.turns.speeds.turn_s
        if usual_s is None:
            return None
        full_s = self.buffer.full_s(self._under_way.values(), time.monotonic())
        through_s = usual_s * self._most_clients()
        return min(max(full_s, 0.01), _LOOK_S) if full_s <= _SLACK * through_s else None

    async def _train_next(self, worker: int) -> None:
        if not (clients := self._next_clients(worker)):
            # Its endpoint is away, or all whom it could train are away or busy.
            await asyncio.sleep(_AWAY_S)
            self._workers.settle()
            return
        predicted_s = sum(self.turns.seconds(client, self._newest) for client in clients)
        self._under_way[worker] = UnderWay(clients, time.monotonic(), predicted_s)
        try:
            async with self._staging:
                training = [one for hand in self._under_way.values() for one in hand.clients]
                await self.invoker.write(self._data.make_ready, training)
            asked = self._ask(clients)
            self._states[worker] = asked.number - 1
            await self._hands.train(worker, list(asked.turns.values()), asked, None)
        finally:
            del self._under_way[worker]
            self._states.pop(worker, None)
        self._receive(asked)

    def _next_clients(self, worker: int) -> list[int]:
        """Those who were drawn next, are there, do not train, and may train where a worker is.

        Nobody, where all of them train already or wait for a worker elsewhere.
        """
        may_train = self._dealing.trains_at(worker)
        busy = {client for hand in self._under_way.values() for client in hand.clients}
        found: list[int] = []
        most = self._most_clients()
        for draws in count():
            elsewhere: list[int] = []
            while self._drawn and len(found) < most:
                client = self._drawn.popleft()
                if client in busy or not self._roster.is_there(client, self._newest):
                    continue
                if may_train(client):
                    busy.add(client)
                    found.append(client)
                else:
                    elsewhere.append(client)
            self._drawn.extendleft(reversed(elsewhere))
            if len(found) == most or draws == _MOST_DRAWS:
                break
            self._draw()
        return found

    def _most_clients(self) -> int:
        """How many clients a container takes at once: a container's share of a version, at most."""
        size, usual_s = self.buffer.size, self.turns.speeds.turn_s
        # Of each draw, somebody is left whom no container trains.
        share = min(size, self._federation.asked) // self.plan.workers
        if usual_s is None or not self.strategy.ages_alike:
            return 1
        wanted = min(share, math.ceil(_HAND_S / max(usual_s, 1e-6)))
        # So that a version is made of as many as it is to be; whoever was lost is made up for.
        most = max((one for one in range(1, wanted + 1) if size % one == 0), default=1)
        expected = self.buffer.updates + sum(len(one.clients) for one in self._under_way.values())
        return most - expected % most

    def _draw(self) -> None:
        self._draws += 1
        cohort = np.array(self._roster.cohort(self._draws, there_in=self._newest))
        order = np.random.default_rng((self.job.seed, self._draws)).permutation(len(cohort))
        drawn = cohort[order].tolist()
        # Who waits for a container elsewhere is not asked twice.
        self._drawn = deque(dict.fromkeys([*self._drawn, *drawn]))

    def _ask(self, clients: Sequence[int]) -> Asked:
        number = self._newest
        turns = {
            client: self.turns.turn(client, number, turns=self._asked_before[client])
            for client in clients
        }
        self._asked_before.update(clients)
        self.turns.check_largest(turns.values(), number)
        return Asked(number, turns, self._exponent, places=self._places)

    def _receive(self, asked: Asked) -> None:
        """Let updates wait for their version; where there is none, say why.

        Raises:
            RoundFailed: that is so of each client.
        """
        self.buffer.dropped |= asked.dropped
        self.buffer.ended |= asked.ended
        if asked.answered:
            self._failures.clear()
            self.buffer.waiting.append(asked)
        else:
            self.buffer.spent += asked.spent
            self._failures += [f"client {client}: {why}" for client, why in asked.dropped.items()]
            if len(self._failures) >= _MOST_FAILURES:
                raise RoundFailed(
                    f"round {self._newest} failed: {len(self._failures)} clients were asked one "
                    f"after the other, and none answered. {'; '.join(self._failures[-5:])}"
                )
        self._came.set()
        self._freed.set()

    def contributions_of(self, asked: Asked, number: int) -> list[Contribution]:
        """What updates stand for in version `number`, by client."""
        late = number - asked.number
        return [replace(done, staleness=late) for done in self.turns.contributions(asked)]

    def freshness_of(self, asked: Asked, number: int) -> float:
        """What is left in version `number` of the weight of a container's updates.

        Raises:
            StrategyFailed: it is no positive number.
        """
        done = self.contributions_of(asked, number)[0]
        fresh, stale = (self.strategy.weight(one) for one in (replace(done, staleness=0), done))
        if not 0 < stale < math.inf:
            raise StrategyFailed(
                f"strategy {self.strategy.name} gives the update of client {done.client} in round "
                f"{number} the weight {stale} at staleness {done.staleness}, which must be a "
                "number above 0"
            )
        return stale / fresh
