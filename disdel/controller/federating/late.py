"""Rounds that end before all have answered, and leave nobody's work undone.

Where a round is over, an activation that is under way goes on. What it sums is of an older state
than that of the round in which it comes, and is added to that round's sum as a change, by what is
left of its weight. Its container takes clients again when it is through; whom it had not begun with
by the end of the round is dropped.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from disdel.controller.federating.aging import aged_ledger, aged_request, train_loss, why_not_aged
from disdel.controller.federating.cohort import Cohort
from disdel.controller.federating.cohorts import CohortContainers
from disdel.controller.federating.dropped import dropped_clients
from disdel.controller.federating.hands import largest_piece
from disdel.controller.federating.rounds import FederatedRun, own_scores
from disdel.controller.invoking.background import background
from disdel.controller.training.observers import JoinedRound
from disdel.controller.training.terms import advance_of
from disdel.errors import UsageError
from disdel.protocol import messages
from disdel.strategies.base import Strategy
from disdel.strategies.exact_sum import exponent_for
from disdel.types import Activation, ClientsReport, FederateJob
from disdel.types.events import Noted
from disdel.types.federation import POISSON
from disdel.types.lateness import Lateness


def check_late(strategy: Strategy, job: FederateJob) -> None:
    """Refuse strategies with whose rounds late updates do not go.

    Raises:
        UsageError: it is one.
    """
    if job.lateness is None:
        return
    why = why_not_aged(strategy)
    if why is None and not strategy.awaits_all:
        why = "weighs stale updates by itself"
    elif why is None and type(strategy).numbers is not Strategy.numbers:
        why = "makes its step of what all updates of a round weigh"
    if why is not None:
        raise UsageError(
            f"strategy {strategy.name} {why}, and --late {job.late} adds those of earlier rounds "
            "to it: use --late drop, or another strategy"
        )


@dataclass(slots=True)
class _Unfinished:
    """A container's part of a round that is over, and who brings it to its end."""

    worker: int
    part: Cohort
    task: asyncio.Task[None]


@dataclass(slots=True)
class Late:
    """What has come of earlier rounds, for a later one.

    Attributes:
        parts: by container, of those that count.
        dropped: why others do not, by client.
        ended: who of them has ended its container.
        spent: keys in the store that nobody reads after the round.
    """

    parts: list[Cohort] = field(default_factory=list)
    dropped: dict[int, str] = field(default_factory=dict)
    ended: frozenset[int] = frozenset()
    spent: list[str] = field(default_factory=list)


class LateContainers(CohortContainers):
    """The containers of a federation that takes late updates into later rounds.

    What `CohortContainers` takes.
    """

    def __init__(self, *parts: Any, **others: Any) -> None:
        super().__init__(*parts, **others)
        job = self._federation
        assert job.lateness is not None
        self._lateness: Lateness = job.lateness
        # Sums of different rounds are added, so that one exponent holds for all of them: with all
        # of a round there may come an activation of each container.
        most = job.roster if job.select == POISSON else job.asked
        most += self.plan.workers * largest_piece(most)
        self._exponent = exponent_for([self.turns.largest_weight * most])
        self._unfinished: list[_Unfinished] = []
        self._scoring: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def _exponent_of(self, weights: Sequence[float]) -> int:  # noqa: ARG002
        return self._exponent

    def busy(self) -> frozenset[int]:
        return frozenset(one.worker for one in self._unfinished if not one.task.done())

    def still_training(self) -> Mapping[int, int]:
        return {
            client: one.part.number
            for one in self._unfinished
            if not one.task.done()
            for client in one.part.turns
        }

    def states_in_use(self) -> set[int]:
        return {one.part.number - 1 for one in self._unfinished}

    async def _train(
        self, hands: Sequence[Sequence[int]], cohort: Cohort, until_s: float | None
    ) -> None:
        """As in any round, but what is under way at its end goes on, unless no round follows."""
        self.turns.check_largest(cohort.turns.values(), cohort.number)
        if cohort.number == self.plan.rounds:
            await super()._train(hands, cohort, until_s)
            return
        begun = [
            self._begin_part(worker, hand, cohort) for worker, hand in enumerate(hands) if hand
        ]
        self._unfinished += begun
        await self._wait({one.task for one in begun}, cohort, until_s, [one.part for one in begun])
        late: set[int] = set()
        for one in begun:
            cohort.take_in(one.part)
            if one.task.done():
                one.task.result()
                cohort.spent += one.part.spent
                self._unfinished.remove(one)
                continue
            training = one.part.training.get(one.worker, frozenset()) & one.part.turns.keys()
            late |= training
            # With the others, it does not begin.
            one.part.turns = {client: one.part.turns[client] for client in training}
        if rest := cohort.turns.keys() - cohort.answered.keys() - cohort.dropped.keys():
            why = self._why_late(cohort)
            cohort.drop(sorted(late), f"{why}; it goes on, for a later round")
            cohort.drop(sorted(rest - late), f"{why}, nor had it begun")
            cohort.late |= rest
        # Whoever scores, averages or trains next needs a container.
        while len(self.busy()) >= self.plan.workers:
            tasks = [one.task for one in self._unfinished if not one.task.done()]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    def _begin_part(self, worker: int, hand: Sequence[int], cohort: Cohort) -> _Unfinished:
        part = Cohort(
            cohort.number,
            {client: cohort.turns[client] for client in hand},
            cohort.exponent,
            changed=cohort.changed,
        )
        # No activation hands in what it has because the round ends.
        training = self._hands.train(worker, list(part.turns.values()), part, None)
        return _Unfinished(worker, part, background(training))

    def take(self, number: int) -> Late:
        """What has come of earlier rounds, and goes into round `number`.

        Raises:
            StoreLost, DataGone: the store has failed.
        """
        late, most = Late(), self._lateness.max_staleness
        came = [one for one in self._unfinished if one.task.done() and one.part.number < number]
        for one in came:
            self._unfinished.remove(one)
            one.task.result()
            part, age = one.part, number - one.part.number
            for client, why in part.dropped.items():
                late.dropped[client] = f"asked in round {part.number}: {why}"
            late.ended |= part.ended
            if most is not None and age > most:
                why = f"too late: it began {age} rounds ago, and max_staleness is {most}"
                late.dropped |= dict.fromkeys(part.answered, why)
                part.answered = {}
            if part.answered:
                late.parts.append(part)
            late.spent += part.spent
        late.parts.sort(key=lambda part: (part.number, min(part.answered)))
        return late

    def freshness(self, part: Cohort, number: int) -> float:
        """What is left in round `number` of the weight of updates that were asked for earlier."""
        return self._lateness.freshness(number - part.number)

    async def score(self, request: messages.ScoreRequest) -> messages.ScoreReply:
        """Score a slice in its container, or in another one where that still trains."""
        busy = self.busy()
        free = [one for one in range(self.plan.workers) if one not in busy]
        worker = request.worker
        if worker in busy and free:
            worker = free[worker % len(free)]
        async with self._scoring[worker]:
            return await super().score(replace(request, worker=worker))

    async def stop(self) -> None:
        """Wait no more for what is under way, and have it end."""
        unfinished, self._unfinished = self._unfinished, []
        unheard = [one for one in unfinished if not one.task.done()]
        for one in unheard:
            one.task.cancel()
        await asyncio.gather(*(one.task for one in unfinished), return_exceptions=True)
        if unheard:
            await self._close(max(one.part.number for one in unheard))
            self.invoker.journal.overtaken += len(unheard)

    async def finish(self) -> None:
        await self.stop()
        await super().finish()


class LateRun(FederatedRun):
    """A federation that takes late updates into later rounds."""

    containers_class: ClassVar[type[LateContainers]] = LateContainers
    _cohorts: LateContainers

    def _activations_of(self, number: int, begun: int) -> tuple[Activation, ...]:  # noqa: ARG002
        return self.untold_activations()

    def _timed(self, number: int, activations: Sequence[Activation]) -> Sequence[Activation]:
        # Nobody has waited for what went on beside the round.
        return [one for one in activations if one.round == number]

    async def _conclude(self) -> None:
        await self._cohorts.stop()
        await super()._conclude()

    async def join(self, number: int) -> JoinedRound:
        cohorts = self._cohorts
        cohort = await cohorts.train_round(number)
        self._check_answers(cohort)
        late = cohorts.take(number)
        if number == self.crew.plan.rounds:
            await cohorts.stop()
        taken = [cohort, *late.parts]
        factors = [cohorts.freshness(part, number) for part in taken]
        done = [
            replace(one, staleness=number - part.number)
            for part in taken
            for one in cohorts.turns.contributions(part)
        ]
        keys, clients = self.invoker.keys, self._federation.roster
        advance = advance_of(self.strategy, keys, number, done, clients)
        await self.collector.combine(aged_request(keys, number, taken, factors, advance))
        left_out = {c: why for c, why in cohort.dropped.items() if c not in cohort.late}
        for sentence in self._drop_notes.of_round(number, left_out | late.dropped):
            self.emit(Noted(message=sentence, matters=True))
        ledger = aged_ledger(number, taken, factors, self.model.target.elements)
        return JoinedRound(
            ledger=tuple(ledger),
            spent=(*cohort.spent, *late.spent),
            train_loss=train_loss(taken),
            clients=ClientsReport(
                asked=len(cohort.turns),
                answered=cohort.updates,
                late=sum(part.updates for part in late.parts),
                dropped=dropped_clients(
                    (*cohort.dropped.items(), *late.dropped.items()), cohort.ended | late.ended
                ),
                **own_scores(ledger),
                bytes=sum(part.moved_bytes for part in taken),
            ),
        )
