"""The rounds of a federation: ask a cohort, let it train, join what has answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from disdel.controller.federating.client_data import StagedSamples
from disdel.controller.federating.cohorts import Cohort, CohortContainers
from disdel.controller.federating.roster import Roster
from disdel.controller.invoking.actions import SizedAction
from disdel.controller.training.observers import JoinedRound, RoundObserver
from disdel.controller.training.rounds import RoundLoop
from disdel.controller.training.staging import stage_scored
from disdel.controller.training.terms import advance_of
from disdel.errors import RoundFailed
from disdel.protocol import messages
from disdel.strategies.base import Contribution, Strategy
from disdel.types import ClientsReport, DroppedClient, FederateJob, LedgerEntry

# Of those that have not answered, in a message; the report has them all.
_NAMED = 5


class FederatedRun(RoundLoop):
    """A federation.

    Args:
        federation: what the user asked for.
        roster: the clients.
        parts: what `RoundLoop` takes.
    """

    command = "federate"

    def __init__(self, federation: FederateJob, roster: Roster, *parts: Any) -> None:
        self._federation = federation
        self._roster = roster
        self._scored: set[str] = set()
        super().__init__(*parts)

    def new_containers(self, action: SizedAction) -> CohortContainers:
        session = self.invoker.session
        self._data = StagedSamples(
            session.store,
            self.invoker.keys,
            self._roster,
            self.samples.splits["train"],
            self.samples.spec,
            session.examination.room_mb,
        )
        self._cohorts = CohortContainers(
            *(self.job, self.crew, self.model, self.strategy, action, self.invoker, self.emit),
            federation=self._federation,
            roster=self._roster,
            data=self._data,
        )
        return self._cohorts

    def further_observers(self) -> Sequence[RoundObserver]:
        return (self._roster,)

    def active(self, number: int) -> int:
        return len(self._cohorts.hands(number))

    async def stage(self, number: int) -> None:
        await self.invoker.write(self._stage, number)

    def _stage(self, number: int) -> None:
        """Those who are needed first, of each container, before the others."""
        if number:
            hands = self._cohorts.hands(number)
            longest = max(map(len, hands))
            turns = (hand[turn] for turn in range(longest) for hand in hands if turn < len(hand))
            self._data.make_ready(list(turns))
        store, keys = self.invoker.session.store, self.invoker.keys
        stage_scored(store, keys, self.crew.plan, self.samples, self._scored)

    async def join(self, number: int) -> JoinedRound:
        cohort = await self._cohorts.train_round(number)
        self._check_answers(cohort)
        keys = self.invoker.keys
        contributions = self._cohorts.contributions(cohort)
        advance = advance_of(self.strategy, keys, number, contributions, self._federation.roster)
        checksums = {client: one.result.checksum for client, one in cohort.answered.items()}
        if cohort.exponent is None:
            entries = await self.collector.collect(
                number, _updates(self.strategy, cohort, contributions), advance
            )
            checksums = {
                entry.client: entry.checksum for entry in entries if entry.client is not None
            }
            for client in sorted(cohort.answered.keys() - checksums.keys()):
                cohort.drop([client], "left out: its update has what is no number")
                del cohort.answered[client]
        else:
            request = messages.CombineRequest(
                round=number,
                sum_keys=tuple(sorted(cohort.sum_keys)),
                updates=len(cohort.answered),
                weight=cohort.weight,
                before_key=keys.state(number - 1),
                state_key=keys.state(number),
                advance=advance,
            )
            await self.collector.combine(request)
        return JoinedRound(
            ledger=tuple(_ledger(cohort, checksums)),
            spent=tuple(cohort.spent),
            train_loss=cohort.train_loss,
            clients=ClientsReport(
                asked=len(cohort.turns),
                answered=len(cohort.answered),
                dropped=tuple(
                    DroppedClient(client=client, why=why)
                    for client, why in sorted(cohort.dropped.items())
                ),
            ),
        )

    def _check_answers(self, cohort: Cohort) -> None:
        """Refuse a round that too few have answered.

        Raises:
            RoundFailed: it is one.
        """
        answered, least = len(cohort.answered), self._federation.least
        if answered >= least:
            return
        dropped = sorted(cohort.dropped.items())
        causes = "; ".join(f"client {client}: {why}" for client, why in dropped[:_NAMED])
        others = f"; and {len(dropped) - _NAMED} others" if len(dropped) > _NAMED else ""
        asked_for = "--min-clients" if self._federation.min_clients else "--clients-per-round"
        without = f" --min-clients {answered} goes on without them" if answered else ""
        raise RoundFailed(
            f"round {cohort.number} failed: {answered} of {len(cohort.turns)} clients answered, "
            f"and {least} must ({asked_for}). {causes}{others}.{without}"
        )


def _updates(
    strategy: Strategy, cohort: Cohort, contributions: Sequence[Contribution]
) -> list[messages.Update]:
    sums = {one.client: dict(strategy.sums(one)) for one in contributions}
    return [
        messages.Update(
            client=client,
            worker=one.worker,
            attempt=one.attempt,
            key=one.update_key or "",
            samples=one.result.samples,
            weight=one.weight,
            sums=sums[client],
        )
        for client, one in sorted(cohort.answered.items())
    ]


def _ledger(cohort: Cohort, checksums: dict[int, str]) -> list[LedgerEntry]:
    return [
        LedgerEntry(
            round=cohort.number,
            client=client,
            worker=one.worker,
            attempt=one.attempt,
            samples=one.result.samples,
            checksum=checksums[client],
            weight=one.weight,
            steps=one.result.steps,
            loss=one.result.loss_sum / one.result.samples,
            train_s=one.result.train_s,
        )
        for client, one in sorted(cohort.answered.items())
    ]
