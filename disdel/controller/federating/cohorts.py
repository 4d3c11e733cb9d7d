"""The containers of a federation: each trains clients of a round's cohort, one after the other.

A container's clients are one activation, which answers with the sum of their updates. One that came
near its limits has stored what it had, and the rest goes on in another activation. What was lost
runs again; clients with which that does not help are found by halving, and go without. What has not
come by the deadline of the round, or after enough others, is waited for no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from disdel.controller.federating.client_data import ClientData
from disdel.controller.federating.cohort import Answered, Cohort
from disdel.controller.federating.dealing import deal
from disdel.controller.federating.privacy import DifferentialPrivacy, check_weights
from disdel.controller.federating.roster import Roster
from disdel.controller.federating.secure import SecureSums
from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.background import background
from disdel.controller.invoking.invoker import Invoker, all_of
from disdel.controller.invoking.recovery import Attempt
from disdel.controller.planning.local_sgd import local_sgd
from disdel.controller.training.containers import Kept, TrainContainers
from disdel.controller.training.crew import Crew
from disdel.controller.training.stopping import is_scored
from disdel.controller.training.terms import client_keeps, step_terms, weights_of
from disdel.errors import ActivationFailed
from disdel.planner.memory import score_batch
from disdel.protocol import messages
from disdel.runtimes.rates import rate_factors
from disdel.runtimes.schedule import Schedule
from disdel.secure_aggregation.quantising import Grid
from disdel.strategies.base import Contribution, Strategy
from disdel.strategies.exact_sum import MOST_CHANGE, exponent_for
from disdel.types import FederateJob, ModelSpec, TrainJob
from disdel.types.events import Listener
from disdel.types.federation import steps_of_round
from disdel.types.privacy import LEAST_SECURE_CLIENTS

# What a client takes beside its steps.
_CLIENT_S = 0.01
# Of a request that names so many clients, and of its answer, the JSON is well below a megabyte.
_MOST_TURNS = 1000
# Where more are asked than are needed, a container hands in so many times a round.
_HAND_INS = 4
# Lost without a reason so often, several clients are halved, and one goes without.
_MOST_TRIES = {True: 2, False: 3}


class CohortContainers(TrainContainers):
    """The containers of a federation.

    Args:
        federation: what the user asked for, which `job` stands for.
        roster: the clients.
        data: makes their samples available.
        differential: bounds their updates, under differential privacy.
    """

    def __init__(
        self,
        job: TrainJob,
        crew: Crew,
        model: ModelSpec,
        strategy: Strategy,
        action: SizedAction,
        invoker: Invoker,
        emit: Listener,
        *,
        federation: FederateJob,
        roster: Roster,
        data: ClientData,
        differential: DifferentialPrivacy | None = None,
    ) -> None:
        super().__init__(job, crew, model, strategy, action, invoker, emit)
        self._federation = federation
        self._roster = roster
        self._data = data
        self._differential = differential
        self._secure: SecureSums | None = None
        if federation.privacy.secure_aggregation:
            threshold = federation.privacy.told_threshold
            self._secure = SecureSums(invoker.keys, threshold, self._send_stage)
        self._epochs = federation.of_clients("local_epochs")
        self._batches = federation.of_clients("client_batch")
        self._rates = federation.of_clients("client_rate")
        # What a step takes; before one was measured, all that matters is that it takes some time.
        self._step_s = _CLIENT_S
        self._dealt: tuple[int, list[list[int]]] | None = None
        self._sgd = local_sgd(job, model, restarts=True)

    def hands(self, number: int) -> list[list[int]]:
        """The clients of a round by the container that trains them."""
        if self._dealt is None or self._dealt[0] != number:
            cohort = self._roster.cohort(number)
            seconds = {client: self._seconds(client) for client in cohort}
            self._dealt = number, deal(seconds, self.plan.workers)
        return self._dealt[1]

    def _seconds(self, client: int) -> float:
        """What a client is predicted to take in a round."""
        share = self._batch_size(client) / self.job.batch_size
        return self._steps(client) * self._step_s * share + _CLIENT_S

    async def train_round(self, number: int) -> Cohort:
        """What came of a round's cohort until all have ended, or it is over for another reason.

        Raises:
            StoreLost, DataGone: the store has failed.
            StrategyFailed: the strategy weighs updates by what is not known in time.
        """
        hands = self.hands(number)
        cohort = self._begin(number, [client for hand in hands for client in hand])
        asked = len(cohort.turns)
        if self._secure is not None and 0 < asked < LEAST_SECURE_CLIENTS:
            cohort.drop(sorted(cohort.turns), f"a sum of {asked} updates would hide no single one")
            hands = []
        if not any(hands):
            if number == 1:
                await self._initialise(cohort)
            return cohort
        if self._secure is not None:
            await self.ensure_created()
            cohort.secure = await self._secure.open(number, hands, cohort.spent)
            shared = set(cohort.secure.shared or ())
            hands = [[client for client in hand if client in shared] for hand in hands]
            cohort.drop(sorted(cohort.turns.keys() - shared), "it has not shared its secrets")
        deadline_s = self._federation.deadline_s
        until_s = None if deadline_s is None else time.time() + deadline_s
        tasks = {
            background(
                self._train_hand(worker, [cohort.turns[client] for client in hand], cohort, until_s)
            )
            for worker, hand in enumerate(hands)
            if hand
        }
        try:
            unheard = await self._wait(tasks, cohort, until_s)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if unheard:
            await self._close(number)
            self.invoker.journal.overtaken += unheard
        if rest := cohort.turns.keys() - cohort.answered.keys() - cohort.dropped.keys():
            cohort.drop(sorted(rest), self._why_late(cohort))
            cohort.late = frozenset(rest)
        self._keep_own(cohort)
        return cohort

    async def score_by_clients(self, number: int, turns: Sequence[messages.ClientTurn]) -> Cohort:
        """Have clients score the model of round `number`, after the steps of their turns.

        Whom that does not succeed with has no score.
        """
        cohort = Cohort(number, {turn.client: turn for turn in turns}, None, scores=True)
        seconds = {
            turn.client: (turn.stop_step - turn.start_step) * self._step_s + _CLIENT_S
            for turn in turns
        }
        await all_of(
            self._train_hand(worker, [cohort.turns[client] for client in hand], cohort, None)
            for worker, hand in enumerate(deal(seconds, self.plan.workers))
        )
        store = self.invoker.session.store
        for key in cohort.spent:
            await asyncio.to_thread(store.delete, key)
        return cohort

    def further_turn(self, client: int, number: int, epochs: float) -> messages.ClientTurn:
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

    def _keep_own(self, cohort: Cohort) -> None:
        """Remember where clients have left what they keep; whatever else there is, is spent."""
        cohort.spent += sorted(cohort.own_keys - set(cohort.kept.values()))
        for client, key in cohort.kept.items():
            if client in self.own:
                cohort.spent.append(self.own[client].key)
            self.own[client] = Kept(key, cohort.number)

    async def _initialise(self, cohort: Cohort) -> None:
        """Have the first state made where chance has asked nobody: a client takes no steps."""
        anybody = self._roster.somebody
        await asyncio.to_thread(self._data.make_ready, [anybody])
        turn = replace(self._turn(anybody, cohort.number), stop_step=0)
        nobody = Cohort(cohort.number, {anybody: turn}, None)
        await self._send_persistently(0, [turn], None, nobody, None)
        cohort.spent += nobody.spent

    async def unmask(self, cohort: Cohort) -> None:
        """Have clients say what unmasks the sum of those that have answered.

        Raises:
            RoundFailed: too few are left.
        """
        if self._secure is not None and cohort.secure is not None:
            cohort.secure = await self._secure.close(
                cohort.secure, self.hands(cohort.number), cohort.answered.keys(), cohort.spent
            )

    async def _send_stage(
        self, worker: int, request: Callable[[int], messages.SecureRequest]
    ) -> messages.SecureReply:
        tries = 0

        async def send(attempt: Attempt) -> messages.SecureReply:
            nonlocal tries
            sent, tries = request(tries), tries + 1
            call = await self._workers.call("secure", sent, worker, attempt, number=sent.round)
            return await self.invoker.call(call, messages.SecureReply)

        return await self._workers.persist(worker, send)

    def _begin(self, number: int, clients: Sequence[int]) -> Cohort:
        turns = {client: self._turn(client, number) for client in clients}
        sums = not self.strategy.is_whole
        weights = [turn.weight for turn in turns.values()]
        exponent = exponent_for(weights or [1.0]) if sums else None
        if self._differential is not None:
            check_weights(self.strategy, weights)
        if exponent is not None and turns:
            self._check_units(exponent, weights)
        return Cohort(number, turns, exponent)

    def _check_units(self, exponent: int, weights: Sequence[float]) -> None:
        """Whether sums in these units are exact, and carry the noise.

        Raises:
            UsageError: they do not.
        """
        if self._differential is not None:
            self._differential.check_units(exponent)
        if self._secure is not None:
            Grid(
                exponent=exponent,
                largest=MOST_CHANGE,
                clients=len(weights),
                weight=math.fsum(weights),
            ).check()

    def _turn(self, client: int, number: int, *, turns: int | None = None) -> messages.ClientTurn:
        """What a client is asked for, after so many turns; by default one for each round before."""
        job, samples, steps = self._federation, self._roster.samples(client), self._steps(client)
        turns, batch_size = number - 1 if turns is None else turns, self._batch_size(client)
        start = turns * steps
        seen = Schedule(samples, batch_size, job.seed, client).samples_between(start, start + steps)
        # A weight that hangs on the loss is none before there is one.
        weight, _ = weights_of(self.strategy, self._contribution(client, number, seen), number)
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
        if not (self._federation.evaluating.before_average and is_scored(number, self.plan)):
            return ()
        split, keys = self.plan.scored_on, self.invoker.keys
        return tuple(keys.shard(split, p.name) for p in self.plan.slices(split) if p.samples)

    def _keeps(
        self, client: int, number: int, steps: int, factor: float
    ) -> messages.ClientKeeps | None:
        own_key = self.own[client].key if client in self.own else None
        rate = 0.0 if self._sgd is None else self._sgd.rate
        return client_keeps(
            self.strategy, self.invoker.keys, number, own_key, steps * rate * factor
        )

    def _contribution(
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
            self._contribution(
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
        return self.job.batch_size if self._batches is None else int(self._batches[client])

    def _own_rate(self, client: int) -> float:
        """A client's learning rate, in shares of the network's."""
        if self._rates is None or self.job.learning_rate is None:
            return 1.0
        return float(self._rates[client]) / self.job.learning_rate

    async def _wait(
        self, tasks: set[asyncio.Task[None]], cohort: Cohort, until_s: float | None
    ) -> int:
        """Return when the round is over; how many containers are not waited for."""
        pending = set(tasks)
        changed = background(cohort.changed.wait())
        try:
            while pending:
                left_s = None if until_s is None else until_s - time.time()
                if left_s is not None and left_s <= 0:
                    break
                done, _ = await asyncio.wait(
                    {*pending, changed}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done & pending:
                    task.result()
                pending -= done
                if self._has_enough(cohort):
                    break
                if changed.done():
                    cohort.changed.clear()
                    changed = background(cohort.changed.wait())
        finally:
            changed.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await changed
        return len(pending)

    def _has_enough(self, cohort: Cohort) -> bool:
        job = self._federation
        return job.asked > job.wanted and len(cohort.answered) >= job.wanted

    def _why_late(self, cohort: Cohort) -> str:
        if self._has_enough(cohort):
            return f"late: {self._federation.wanted} clients had answered"
        return f"late: no answer within the {self._federation.deadline_s:g} s of --deadline"

    async def _close(self, number: int) -> None:
        """Let activations of a round that are still under way know that nobody waits for them."""
        store, keys = self.invoker.session.store, self.invoker.keys
        await asyncio.to_thread(store.set_field, keys.open, keys.CLOSED, str(number))

    async def _train_hand(
        self,
        worker: int,
        turns: Sequence[messages.ClientTurn],
        cohort: Cohort,
        until_s: float | None,
    ) -> None:
        """One container's clients of a round, activation by activation."""
        pending, begun = list(turns), None
        while pending:
            piece = pending[: self._piece(len(turns))]
            try:
                ended = await self._send_persistently(worker, piece, begun, cohort, until_s)
            except ActivationFailed as failure:
                cohort.failures += 1
                pending, begun = pending[len(piece) :], None
                if len(piece) == 1 or cohort.is_hopeless:
                    cohort.drop([turn.client for turn in piece], failure.reason or str(failure))
                else:
                    half = len(piece) // 2
                    await self._train_hand(worker, piece[:half], cohort, until_s)
                    await self._train_hand(worker, piece[half:], cohort, until_s)
                continue
            self._take(worker, ended, cohort)
            reply = ended.reply
            pending, begun = pending[len(reply.results) :], reply.begun
            if reply.outcome == "continued-memory":
                self._workers.give_room(worker)
            if reply.outcome == "ok" and len(reply.results) < len(piece):
                # The deadline of the round.
                return

    def _piece(self, clients: int) -> int:
        """How many clients an activation trains at most."""
        if self._federation.asked > self._federation.wanted:
            return max(1, math.ceil(clients / _HAND_INS))
        return _MOST_TURNS

    def _take(self, worker: int, ended: _Ended, cohort: Cohort) -> None:
        """Count what an activation has answered."""
        sent, reply = ended.request, ended.reply
        turns = {turn.client: turn for turn in sent.turns}
        cohort.moved_bytes += reply.moved_bytes
        each_bytes = reply.moved_bytes // max(1, len(reply.results))
        for result in reply.results:
            if result.refused:
                cohort.drop([result.client], result.refused)
                continue
            turn = turns[result.client]
            cohort.answered[result.client] = Answered(
                result, worker, sent.attempt, turn.weight, turn.update_key, each_bytes
            )
            if turn.keeps is not None:
                cohort.kept[result.client] = turn.keeps.new_own_key
        if cohort.exponent is not None and any(not result.refused for result in reply.results):
            cohort.sum_keys.append(sent.sum_key)
        if reply.steps:
            self._step_s = reply.train_s / reply.steps
        cohort.changed.set()

    async def _send_persistently(
        self,
        worker: int,
        turns: Sequence[messages.ClientTurn],
        begun: messages.Begun | None,
        cohort: Cohort,
        until_s: float | None,
    ) -> _Ended:
        """The activation of these clients that ended well; lost ones are replaced."""
        segment = cohort.next_segment(worker)
        number, keys, trains = cohort.number, self.invoker.keys, not cohort.scores
        request = messages.TrainClientsRequest(
            network=self.network(),
            worker=worker,
            round=number,
            segment=segment,
            attempt=0,
            turns=tuple(turns),
            micro_batches=1,
            block_steps=1,
            heed_memory=True,
            state_key=keys.state(number - 1 if trains else number),
            initialise=trains and number == 1,
            exponent=cohort.exponent,
            sum_key="",
            checkpoint_key="",
            progress_key=keys.progress,
            open_key=keys.open if trains else None,
            begun=begun,
            until_s=until_s,
            terms=step_terms(self.strategy, keys, number) if trains else None,
            tells_untrained=trains and self.strategy.advances,
            clipping=self._differential.clipping if self._differential and trains else None,
            secure=cohort.secure,
        )
        tries = 0

        async def send(attempt: Attempt) -> _Ended:
            nonlocal tries
            count, tries = tries, tries + 1
            place = (number, worker, segment, count)
            sent = replace(
                request,
                attempt=count,
                turns=tuple(self._own_key(turn, cohort, segment, count) for turn in turns),
                micro_batches=attempt.micro_batches,
                block_steps=attempt.block_steps,
                heed_memory=attempt.heed_memory,
                score_batch=score_batch(attempt.micro_batches),
                sum_key=keys.sum(*place),
                checkpoint_key=keys.begun(*place) if trains else keys.begun_score(*place),
            )
            cohort.spent += [*([sent.sum_key] if trains else []), sent.checkpoint_key]
            cohort.spent += [turn.update_key for turn in sent.turns if turn.update_key is not None]
            cohort.own_keys |= {turn.keeps.new_own_key for turn in sent.turns if turn.keeps}
            task = "train" if trains else "score"
            call = await self._workers.call(task, sent, worker, attempt, number=number)
            call = replace(call, segment=segment, attempt=count)
            try:
                return _Ended(sent, await self.invoker.call(call, messages.TrainClientsReply))
            except ActivationFailed as failure:
                if failure.outcome == "error" and tries >= _MOST_TRIES[len(turns) > 1]:
                    failure.lost = False
                raise

        return await self._workers.persist(worker, send)

    def _own_key(
        self, turn: messages.ClientTurn, cohort: Cohort, segment: int, attempt: int
    ) -> messages.ClientTurn:
        """A turn with a place for its update, where that is not summed."""
        if cohort.exponent is not None or cohort.scores:
            return turn
        keys, place = self.invoker.keys, (cohort.number, turn.client, segment, attempt)
        keeps = turn.keeps and replace(turn.keeps, new_own_key=keys.own(*place))
        return replace(turn, update_key=keys.update(*place), keeps=keeps)


@dataclass(frozen=True, slots=True)
class _Ended:
    """An activation that ended well: what was sent, and the reply."""

    request: messages.TrainClientsRequest
    reply: messages.TrainClientsReply
