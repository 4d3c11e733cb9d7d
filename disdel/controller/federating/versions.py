"""The rounds of a federation that takes updates as they come: each makes a version of a buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from disdel.controller.federating.aging import aged_ledger, aged_request, train_loss
from disdel.controller.federating.asynchronous import AsynchronousContainers
from disdel.controller.federating.buffer import Asked
from disdel.controller.federating.dropped import dropped_clients
from disdel.controller.federating.rounds import FederatedRun, own_scores
from disdel.controller.invoking.actions import SizedAction
from disdel.controller.training.observers import JoinedRound
from disdel.controller.training.staging import stage_scored
from disdel.controller.training.terms import advance_of
from disdel.protocol import messages
from disdel.types import Activation, ClientsReport
from disdel.types.events import Noted


class AsynchronousRun(FederatedRun):
    """A federation whose strategy takes updates as they come."""

    containers_class: ClassVar[type[AsynchronousContainers]] = AsynchronousContainers
    _cohorts: AsynchronousContainers

    def new_containers(self, action: SizedAction) -> AsynchronousContainers:
        super().new_containers(action)
        self._cohorts.go_on(line for done in self.progress.rounds for line in done.ledger)
        return self._cohorts

    def active(self, number: int) -> int:  # noqa: ARG002
        return self.crew.plan.workers

    def _stage(self, number: int) -> None:  # noqa: ARG002
        store, keys = self.invoker.session.store, self.invoker.keys
        stage_scored(store, keys, self.crew.plan, self.samples, self._scored)

    def _activations_of(self, number: int, begun: int) -> tuple[Activation, ...]:  # noqa: ARG002
        return self.untold_activations()

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
        done = [one for asked in taken for one in cohorts.contributions_of(asked, number)]
        clients = self._federation.roster
        advance = advance_of(self.strategy, self.invoker.keys, number, done, clients)
        if self.strategy.mixes_states:
            await self.collector.collect(number, _updates(taken, factors), advance)
        else:
            await self.collector.combine(
                aged_request(self.invoker.keys, number, taken, factors, advance)
            )
        cohorts.publish(number)
        dropped, cohorts.buffer.dropped = cohorts.buffer.dropped, {}
        ended, cohorts.buffer.ended = cohorts.buffer.ended, frozenset()
        spent, cohorts.buffer.spent = cohorts.buffer.spent, []
        for sentence in self._drop_notes.of_round(number, dropped):
            self.emit(Noted(message=sentence, matters=True))
        ledger = aged_ledger(number, taken, factors, self.model.target.elements)
        return JoinedRound(
            ledger=tuple(ledger),
            spent=(*spent, *(key for asked in taken for key in asked.spent)),
            train_loss=train_loss(taken),
            clients=ClientsReport(
                asked=len(done) + len(dropped),
                answered=len(done),
                dropped=dropped_clients(dropped.items(), ended),
                **own_scores(ledger),
                bytes=sum(asked.moved_bytes for asked in taken),
            ),
        )


def _updates(taken: Sequence[Asked], factors: Sequence[float]) -> list[messages.Update]:
    return [
        messages.Update(
            client=client,
            worker=one.worker,
            attempt=one.attempt,
            key=one.update_key or "",
            samples=one.result.samples,
            weight=one.weight * factor,
        )
        for asked, factor in zip(taken, factors, strict=True)
        for client, one in asked.answers
    ]
