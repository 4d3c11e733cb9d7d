"""The rounds of a training, whose workers keep their shards from round to round."""

from __future__ import annotations

from collections.abc import Sequence

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.training.adapting import AdaptedCrew
from disdel.controller.training.fleet import Fleet
from disdel.controller.training.observers import JoinedRound, RoundObserver
from disdel.controller.training.rounds import RoundLoop
from disdel.controller.training.staging import shard_keys, stage
from disdel.controller.training.stopping import is_scored_later
from disdel.controller.training.terms import advance_of


class TrainRun(RoundLoop):
    """A training: its workers keep their shards, and all of them train in each round."""

    command = "train"

    def new_containers(self, action: SizedAction) -> Fleet:
        self.staged: set[str] = set()
        self.fleet = Fleet(
            self.job, self.crew, self.model, self.strategy, action, self.invoker, self.emit
        )
        return self.fleet

    def further_observers(self) -> Sequence[RoundObserver]:
        return (AdaptedCrew(self.job, self.crew, self.fleet, self.progress, self.emit),)

    def active(self, number: int) -> int:
        return self.fleet.active(number)

    def is_scored_later(self, number: int) -> bool:
        later = is_scored_later(number, self._plan, self.job, self.strategy)
        return later and self.fleet.trains(self._average.first(number), number + 1)

    async def stage(self, number: int) -> None:  # noqa: ARG002
        """Write the shards of the present cut that are not there, and delete those of the last."""
        store, keys, plan = self.invoker.session.store, self.invoker.keys, self.crew.plan
        assignment = self.crew.assignment
        if self.staged != shard_keys(keys, plan, assignment):
            await self.invoker.write(
                stage, store, keys, plan, assignment, self.samples, self.staged
            )

    async def join(self, number: int) -> JoinedRound:
        before = self.unscored
        scores = {} if before is None else self._average.first(before.report.round)
        trained = await self.fleet.train_round(number, scores)
        await self.scored_before()
        ledger = await self.collector.collect(
            number,
            [work.update for work in trained],
            advance_of(
                self.strategy,
                self.invoker.keys,
                number,
                [work.contribution for work in trained],
                len(self.crew.plan.client_samples),
            ),
        )
        samples = sum(work.update.samples for work in trained)
        return JoinedRound(
            ledger=tuple(ledger),
            spent=tuple(key for work in trained for key in (work.update.key, *work.spent)),
            train_loss=sum(work.loss_sum for work in trained) / samples,
        )
