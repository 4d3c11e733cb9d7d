"""What each client is asked for in a round, and what its answer stands for."""

from __future__ import annotations

import math

import numpy as np

from disdel.controller.federating.client_data import ClientData
from disdel.controller.federating.cohort import Cohort
from disdel.controller.federating.roster import Roster
from disdel.controller.planning.local_sgd import local_sgd
from disdel.controller.training.containers import Kept
from disdel.controller.training.crew import Crew
from disdel.controller.training.stopping import is_scored
from disdel.controller.training.terms import client_keeps, weights_of
from disdel.protocol import messages
from disdel.protocol.keys import RunKeys
from disdel.runtimes.rates import rate_factors
from disdel.runtimes.schedule import Schedule
from disdel.strategies.base import Contribution, Strategy
from disdel.types import FederateJob, ModelSpec, TrainJob
from disdel.types.federation import steps_of_round

# What a client takes beside its steps.
_CLIENT_S = 0.01


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
        step_s: what a step takes, as last measured; before that, all that matters is that it takes
            some time.
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
        self.step_s = _CLIENT_S

    def further(self, client: int, number: int, epochs: float) -> messages.ClientTurn:
        """A client's turn of so many passes over its own samples, from the model of a round on."""
        steps = steps_of_round(self._roster.samples(client), self._batch_size(client), epochs)
        return messages.ClientTurn(
            client=client,
            shard_key=self._data.key(client),
            start_step=0,
            stop_step=steps,
            batch_size=self._batch_size(client),
            weight=0.0,
            rate_factor=self._rate_factor(client, number),
            samples=self._roster.samples(client),
        )

    def turn(self, client: int, number: int, *, turns: int | None = None) -> messages.ClientTurn:
        """What a client is asked for, after so many turns; by default one for each round before."""
        job, samples, steps = self._federation, self._roster.samples(client), self._steps(client)
        turns, batch_size = number - 1 if turns is None else turns, self._batch_size(client)
        start = turns * steps
        seen = Schedule(samples, batch_size, job.seed, client).samples_between(start, start + steps)
        # A weight that hangs on the loss is none before there is one.
        weight, _ = weights_of(self._strategy, self.contribution(client, number, seen), number)
        factor = self._rate_factor(client, number)
        return messages.ClientTurn(
            client=client,
            shard_key=self._data.key(client),
            start_step=start,
            stop_step=start + steps,
            batch_size=batch_size,
            weight=weight,
            rate_factor=factor,
            keeps=self._keeps(client, number, steps, factor),
            samples=samples,
            score_keys=self._score_keys(number),
        )

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
        self, client: int, number: int, samples: int, loss: float = math.nan
    ) -> Contribution:
        """What a client does in a round, so far as it is known."""
        rate = None if self._sgd is None else self._sgd.rate * self._rate_factor(client, number)
        return Contribution(
            client=client,
            steps=self._steps(client),
            samples=samples,
            loss=loss,
            epochs=samples / self._roster.samples(client),
            rate=rate,
        )

    def contributions(self, cohort: Cohort) -> list[Contribution]:
        """What those have done whose updates count, by client."""
        return [
            self.contribution(
                client, cohort.number, result.samples, result.loss_sum / result.samples
            )
            for client, result in sorted((c, one.result) for c, one in cohort.answered.items())
        ]

    def _rate_factor(self, client: int, number: int) -> float:
        """A client's learning rate in a round, in shares of the network's."""
        job = self._federation
        [factor] = rate_factors(
            job.rate_schedule, number - 1, number, job.rounds, clients=job.wanted
        )
        return float(factor) * self._own_rate(client)

    def _steps(self, client: int) -> int:
        epochs = 1.0 if self._epochs is None else float(self._epochs[client])
        return steps_of_round(self._roster.samples(client), self._batch_size(client), epochs)

    def _batch_size(self, client: int) -> int:
        return self._job.batch_size if self._batches is None else int(self._batches[client])

    def _own_rate(self, client: int) -> float:
        """A client's learning rate, in shares of the network's."""
        if self._rates is None or self._job.learning_rate is None:
            return 1.0
        return float(self._rates[client]) / self._job.learning_rate

    def largest_weight(self) -> float:
        """What any client's update can weigh at most, before it is stale."""
        sizes = self._roster.sizes
        epochs = np.ones(len(sizes)) if self._epochs is None else self._epochs
        batches = np.full(len(sizes), self._job.batch_size)
        if self._batches is not None:
            batches = self._batches
        alike = np.unique(np.stack([sizes, epochs, batches]), axis=1, return_index=True)[1]
        return max(
            self._strategy.weight(self._bound(client))
            for client in alike.tolist()
            if self._roster.samples(client)
        )

    def _bound(self, client: int) -> Contribution:
        # A round of whole batches sees as many samples, or fewer at the end of an epoch.
        return self.contribution(client, 1, self._steps(client) * self._batch_size(client))

    def seconds(self, client: int) -> float:
        """What a client is predicted to take in a round."""
        return self._seconds(self._steps(client), self._batch_size(client))

    def seconds_of(self, turn: messages.ClientTurn) -> float:
        """What a turn is predicted to take."""
        return self._seconds(turn.stop_step - turn.start_step, turn.batch_size)

    def _seconds(self, steps: int, batch_size: int) -> float:
        return steps * self.step_s * batch_size / self._job.batch_size + _CLIENT_S
