"""The rounds of a federation that takes updates as they come: each makes a version of a buffer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from disdel.controller.federating.asynchronous import Asked, AsynchronousContainers
from disdel.controller.federating.rounds import FederatedRun, ledger_entry, own_scores
from disdel.controller.invoking.actions import SizedAction
from disdel.controller.training.observers import JoinedRound
from disdel.controller.training.staging import stage_scored
from disdel.controller.training.terms import advance_of
from disdel.protocol import messages
from disdel.types import Activation, ClientsReport, DroppedClient, LedgerEntry


class AsynchronousRun(FederatedRun):
    """A federation whose strategy takes updates as they come."""

    containers_class: ClassVar[type[AsynchronousContainers]] = AsynchronousContainers
    _cohorts: AsynchronousContainers

    def new_containers(self, action: SizedAction) -> AsynchronousContainers:
        super().new_containers(action)
        self._told = 0
        self._cohorts.go_on(line for done in self.progress.rounds for line in done.ledger)
        return self._cohorts

    def active(self, number: int) -> int:  # noqa: ARG002
        return self.crew.plan.workers

    def _stage(self, number: int) -> None:  # noqa: ARG002
        store, keys = self.invoker.session.store, self.invoker.keys
        stage_scored(store, keys, self.crew.plan, self.samples, self._scored)

    def _activations_of(self, number: int, begun: int) -> tuple[Activation, ...]:  # noqa: ARG002
        """All that have ended since the last version: they are of whichever their clients had."""
        own = self.own_activations
        told, self._told = self._told, len(own)
        return tuple(own[told:])

    def _activations_before(self, begun: int) -> tuple[Activation, ...]:  # noqa: ARG002
        """None: a first client may take many versions, so a cold start shows nothing."""
        return ()

    async def _conclude(self) -> None:
        await self._cohorts.stop()
        await super()._conclude()

    async def join(self, number: int) -> JoinedRound:
        cohorts = self._cohorts
        taken = await cohorts.next_buffer(number)
        if number == self.crew.plan.rounds:
            await cohorts.stop()
        factors = [cohorts.freshness_of(asked, number) for asked in taken]
        done = [cohorts.contribution_of(asked, number) for asked in taken]
        clients = self._federation.roster
        advance = advance_of(self.strategy, self.invoker.keys, number, done, clients)
        if self.strategy.mixes_states:
            await self.collector.collect(number, _updates(taken, factors), advance)
        else:
            await self.collector.combine(self._request(number, taken, factors, advance))
        cohorts.publish(number)
        dropped, cohorts.buffer.dropped = cohorts.buffer.dropped, {}
        spent, cohorts.buffer.spent = cohorts.buffer.spent, []
        samples = sum(one.samples for one in done)
        ledger = self._ledger(number, taken, factors)
        return JoinedRound(
            ledger=tuple(ledger),
            spent=(*spent, *(key for asked in taken for key in asked.spent)),
            train_loss=math.fsum(one.answer.result.loss_sum for one in taken) / samples,
            clients=ClientsReport(
                asked=len(taken) + len(dropped),
                answered=len(taken),
                dropped=tuple(
                    DroppedClient(client=client, why=why) for client, why in sorted(dropped.items())
                ),
                **own_scores(ledger),
                bytes=sum(asked.moved_bytes for asked in taken),
            ),
        )

    def _ledger(
        self, number: int, taken: Sequence[Asked], factors: Sequence[float]
    ) -> list[LedgerEntry]:
        labels_each = self.model.target.elements
        return [
            replace(
                ledger_entry(number, asked.client, asked.answer, labels_each),
                weight=asked.answer.weight * factor,
                staleness=number - asked.number,
            )
            for asked, factor in zip(taken, factors, strict=True)
        ]

    def _request(
        self,
        number: int,
        taken: Sequence[Asked],
        factors: Sequence[float],
        advance: messages.Advance | None,
    ) -> messages.CombineRequest:
        keys = self.invoker.keys
        stale = zip(taken, factors, strict=True)
        return messages.CombineRequest(
            round=number,
            sum_keys=tuple(key for asked in taken for key in asked.sum_keys),
            factors=tuple(factors),
            updates=len(taken),
            weight=math.fsum(asked.answer.weight * factor for asked, factor in stale),
            before_key=keys.state(number - 1),
            state_key=keys.state(number),
            advance=advance,
            exponent=taken[0].exponent,
        )


def _updates(taken: Sequence[Asked], factors: Sequence[float]) -> list[messages.Update]:
    return [
        messages.Update(
            client=asked.client,
            worker=asked.answer.worker,
            attempt=asked.answer.attempt,
            key=asked.answer.update_key or "",
            samples=asked.answer.result.samples,
            weight=asked.answer.weight * factor,
        )
        for asked, factor in zip(taken, factors, strict=True)
    ]
