"""What each client is asked for in a round, and what its answer stands for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from disdel.controller.federating.balancing import Balancing, Share
from disdel.controller.federating.client_data import ClientData
from disdel.controller.federating.cohort import Cohort
from disdel.controller.federating.roster import Roster
from disdel.controller.federating.speeds import Speeds
from disdel.controller.federating.told_labels import ToldLabels
from disdel.controller.planning.local_sgd import local_sgd
from disdel.controller.training.containers import Kept
from disdel.controller.training.crew import Crew
from disdel.controller.training.stopping import is_scored
from disdel.controller.training.terms import client_keeps, weights_of
from disdel.errors import StrategyFailed
from disdel.protocol import client_messages, messages
from disdel.protocol.keys import RunKeys
from disdel.runtimes.rates import rate_factors
from disdel.runtimes.schedule import Schedule
from disdel.strategies.base import Contribution, Strategy
from disdel.types import FederateJob, LedgerEntry, ModelSpec, TrainJob
from disdel.types.federation import steps_of_round


class ClientTurns:
    """Turns of clients, each with its own epochs, batches and learning rate.

    Args:
        federation: what the user asked for.
        job: which stands for it.
        model: the network.
        strategy: weighs updates.
        roster: the clients.
        data: knows where their samples are.
        keys: of the run.
        crew: whose plan says what is scored.
        own: where each client has left what it keeps by the strategy.

    Attributes:
        speeds: what clients take, as measured.
        labels: what clients have said of theirs.
    """

    def __init__(
        self,
        federation: FederateJob,
        job: TrainJob,
        model: ModelSpec,
        strategy: Strategy,
        roster: Roster,
        data: ClientData,
        keys: RunKeys,
        crew: Crew,
        own: dict[int, Kept],
    ) -> None:
        self._federation = federation
        self._job = job
        self._strategy = strategy
        self._roster = roster
        self._data = data
        self._keys = keys
        self._crew = crew
        self._own = own
        self._epochs = federation.of_clients("local_epochs")
        self._batches = federation.of_clients("client_batch")
        self._rates = federation.of_clients("client_rate")
        self._sgd = local_sgd(job, model, restarts=True)
        self.labels = ToldLabels(federation, model)
        self.speeds = Speeds(len(roster.sizes), job.batch_size)
        self._steps_done: Counter[int] = Counter()
        self._balancing: Balancing | None = None
        if federation.balance is not None:
            self._balancing = Balancing(
                federation.balance, self.speeds, roster.sizes, *self._by_client()
            )

    def further(self, client: int, number: int, epochs: float) -> client_messages.ClientTurn:
        """A client's turn of so many passes over its own samples, from the model of a round on."""
        steps = steps_of_round(self._roster.samples(client), self._batch_size(client), epochs)
        return client_messages.ClientTurn(
            client=client,
            shard_key=self._data.key(client),
            start_step=0,
            stop_step=steps,
            batch_size=self._batch_size(client),
            weight=0.0,
            rate_factor=self._rate_factor(client, number),
            samples=self._roster.told(client),
        )

    def turn(
        self, client: int, number: int, *, turns: int | None = None
    ) -> client_messages.ClientTurn:
        """What a client is asked for, after so many turns; by default one for each round before."""
        batch_size, share = self._batch_size(client), self._share(client, number)
        steps = steps_of_round(share.samples, batch_size, share.epochs)
        start = (number - 1 if turns is None else turns) * steps
        if self._balancing is not None:
            start = self._steps_done[client]
        schedule = Schedule(share.samples, batch_size, self._federation.seed, client)
        seen = schedule.samples_between(start, start + steps)
        # A weight that hangs on the loss is none before there is one.
        done = self.contribution(client, number, steps, seen)
        weight, sums = weights_of(self._strategy, done, number)
        factor = self._rate_factor(client, number)
        return client_messages.ClientTurn(
            client=client,
            shard_key=self._data.key(client),
            start_step=start,
            stop_step=start + steps,
            batch_size=batch_size,
            weight=weight,
            rate_factor=factor,
            keeps=self._keeps(client, number, steps, factor),
            samples=self._roster.told(client),
            score_keys=self._score_keys(number),
            asks_labels=self.labels.lacks(client),
            uses=share.samples if share.samples < self._roster.samples(client) else None,
            sums=sums if self._strategy.wants_sums else {},
        )

    def _share(self, client: int, number: int) -> Share:
        if self._balancing is not None:
            return self._balancing.share(client, number)
        epochs = 1.0 if self._epochs is None else float(self._epochs[client])
        return Share(self._roster.samples(client), epochs)

    def follow(self, ledger: Iterable[LedgerEntry]) -> None:
        """Know what earlier controllers have seen clients do."""
        for entry in ledger:
            if entry.client is not None:
                self._steps_done[entry.client] += entry.steps or 0

    def took(self, turn: client_messages.ClientTurn, result: client_messages.ClientResult) -> None:
        """Remember what a client has done, and how fast."""
        self.labels.tell(turn.client, result.labels)
        self.speeds.tell(turn, result)
        self._steps_done[turn.client] += result.steps

    def _score_keys(self, number: int) -> tuple[str, ...]:
        """Where the samples are that a client's model is scored on before it is averaged."""
        if not (self._federation.evaluating.before_average and is_scored(number, self._crew.plan)):
            return ()
        split, keys = self._crew.plan.scored_on, self._keys
        return tuple(keys.shard(split, p.name) for p in self._crew.plan.slices(split) if p.samples)

    def _keeps(
        self, client: int, number: int, steps: int, factor: float
    ) -> messages.ClientKeeps | None:
        own_key = self._own[client].key if client in self._own else None
        rate = 0.0 if self._sgd is None else self._sgd.rate
        return client_keeps(self._strategy, self._keys, number, own_key, steps * rate * factor)

    def contribution(
        self, client: int, number: int, steps: int, samples: int, loss: float = math.nan
    ) -> Contribution:
        """What a client does in a round, so far as it is known."""
        rate = None if self._sgd is None else self._sgd.rate * self._rate_factor(client, number)
        return Contribution(
            client=client,
            steps=steps,
            samples=samples,
            loss=loss,
            epochs=samples / self._roster.samples(client),
            rate=rate,
        )

    def contributions(self, cohort: Cohort) -> list[Contribution]:
        """What those have done whose updates count, by client."""
        answers = sorted((client, one.result) for client, one in cohort.answered.items())
        return [
            self.contribution(
                client,
                cohort.number,
                result.steps,
                result.samples,
                result.loss_sum / result.samples,
            )
            for client, result in answers
        ]

    def _rate_factor(self, client: int, number: int) -> float:
        """A client's learning rate in a round, in shares of the network's."""
        job = self._federation
        [factor] = rate_factors(
            job.rate_schedule, number - 1, number, job.rounds, clients=job.wanted
        )
        return float(factor) * self._own_rate(client)

    def _batch_size(self, client: int) -> int:
        return self._job.batch_size if self._batches is None else int(self._batches[client])

    def _own_rate(self, client: int) -> float:
        """A client's learning rate, in shares of the network's."""
        if self._rates is None or self._job.learning_rate is None:
            return 1.0
        return float(self._rates[client]) / self._job.learning_rate

    def check_largest(self, turns: Iterable[client_messages.ClientTurn], number: int) -> None:
        """Refuse an update that weighs more than its sum has room for, in round `number`.

        Raises:
            StrategyFailed: it is one.
        """
        for turn in turns:
            if turn.weight > self.largest_weight:
                raise StrategyFailed(
                    f"strategy {self._strategy.name} gives client {turn.client} the weight "
                    f"{turn.weight:g} in round {number}, and {self.largest_weight:g} was the "
                    "largest of all before the first"
                )

    @cached_property
    def largest_weight(self) -> float:
        """What any client's update can weigh at most, before it is stale."""
        return max(
            self._strategy.weight(self._bound(client))
            for client in self._unalike()
            if self._roster.samples(client)
        )

    def _unalike(self) -> list[int]:
        """One of each clients that are asked for the same."""
        asked = (self._roster.sizes, self._epochs, self._batches, self._rates)
        columns = [column for column in asked if column is not None]
        order = np.lexsort(columns)
        differs = np.zeros(len(order), np.bool_)
        differs[:1] = True
        for column in columns:
            differs[1:] |= np.diff(column[order]) != 0
        return [int(client) for client in order[differs]]

    def _by_client(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Epochs and batch sizes, each of shape (clients,)."""
        ones = np.ones(len(self._roster.sizes))
        return (
            ones if self._epochs is None else self._epochs,
            ones * self._job.batch_size if self._batches is None else self._batches,
        )

    def _bound(self, client: int) -> Contribution:
        # A round of whole batches sees as many samples, or fewer at the end of an epoch.
        share, batch_size = self._share(client, 1), self._batch_size(client)
        steps = steps_of_round(share.samples, batch_size, share.epochs)
        return self.contribution(client, 1, steps, steps * batch_size)

    def seconds(self, client: int, number: int, *, alike: bool = False) -> float:
        """What a client is predicted to take in a round, perhaps as if all were equally fast."""
        share, batch_size = self._share(client, number), self._batch_size(client)
        steps = steps_of_round(share.samples, batch_size, share.epochs)
        return self.speeds.seconds(None if alike else client, steps, batch_size)

    def seconds_of(self, turn: client_messages.ClientTurn) -> float:
        """What a turn is predicted to take."""
        steps = turn.stop_step - turn.start_step
        return self.speeds.seconds(turn.client, steps, turn.batch_size)
