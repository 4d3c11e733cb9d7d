"""The workers of a run: each is brought through its rounds, whatever happens to its containers.

A client is whose update it is, a worker is what runs: in a round, each worker trains its clients
one after the other. A client's round is a chain of segments. A segment that was lost runs again
from the state that it started from; one that asks to go on does so where it stopped. Both may move
the worker to a larger action, and the worker stays there. Where a worker takes far longer
than the others, its segment is copied, and the first of the two to end counts (`speculation`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.invoker import Invoker, all_of
from disdel.controller.invoking.recovery import Attempt
from disdel.controller.planning.local_sgd import local_sgd
from disdel.controller.training.containers import Kept, TrainContainers
from disdel.controller.training.crew import Crew
from disdel.controller.training.speculation import RoundClock, Speculation
from disdel.controller.training.terms import client_keeps, step_terms, weights_of
from disdel.errors import ActivationFailed, TrainingDiverged
from disdel.planner.memory import score_batch
from disdel.planner.slices import take_turns
from disdel.protocol import messages
from disdel.protocol.keys import RunKeys
from disdel.runtimes.rates import rate_factors
from disdel.runtimes.schedule import Schedule, round_steps
from disdel.strategies.base import Contribution, Strategy
from disdel.strategies.selection import chosen_participants
from disdel.types import ModelSpec, TrainJob
from disdel.types.events import Listener, Noted


@dataclass(frozen=True, slots=True)
class TrainedClient:
    """A client's round: its update, its loss summed over the samples, and keys that are spent."""

    update: messages.Update
    contribution: Contribution
    loss_sum: float
    spent: tuple[str, ...]


class Fleet(TrainContainers):
    """The train workers of a training, which keep their shards from round to round."""

    def __init__(
        self,
        job: TrainJob,
        crew: Crew,
        model: ModelSpec,
        strategy: Strategy,
        action: SizedAction,
        invoker: Invoker,
        emit: Listener,
    ) -> None:
        super().__init__(job, crew, model, strategy, action, invoker, emit)
        self._sgd = local_sgd(job, model, restarts=job.optimizer_state == "reset")
        self._speculation: Speculation[_Ended] = Speculation()

    async def train_round(
        self, number: int, scores: Mapping[int, messages.ScoreFirst]
    ) -> list[TrainedClient]:
        """The updates of the clients that take part; the workers train at the same time.

        Args:
            number: of the round.
            scores: what workers do before their first step.

        Raises:
            ActivationFailed: a worker failed in a way that another attempt would not mend.
            StrategyFailed: the strategy chose others than there are.
        """
        clock = RoundClock()
        work = self._work(number)
        self._diverged: list[ActivationFailed] = []
        trained = await all_of(
            self._train_in_turn(worker, clients, number, clock, scores.get(worker))
            for worker, clients in work.items()
        )
        updates = [one for of_worker in trained for one in of_worker]
        if not updates:
            raise self._diverged[0]
        return updates

    def trains(self, workers: Collection[int], number: int) -> bool:
        """Whether each of some workers has something to do in a round."""
        return self._work(number).keys() >= set(workers)

    async def finish(self) -> None:
        """Wait no more for activations whose copies were faster."""
        self.invoker.journal.overtaken += await self._speculation.finish()

    def active(self, number: int) -> int:
        """How many workers have something to do in a round."""
        return len(self._work(number))

    def _work(self, number: int) -> dict[int, dict[int, range]]:
        """The steps of a round by worker and client, of those who have some and take part.

        A worker with one client keeps it, whose samples it holds. Where there are more clients and
        some take no part, the others are shared out anew: no worker waits for another's turns.
        """
        clients = sorted(client for turn in self.plan.turns for client in turn)
        steps = {c: steps for c in clients if len(steps := self._steps(c, number))}
        chosen = set(chosen_participants(self.strategy, tuple(steps), number, self.job.seed))
        turns = self.plan.turns
        if len(chosen) < len(clients) > len(turns):
            taking = sorted(chosen)
            dealt = take_turns([len(steps[client]) for client in taking], len(turns))
            turns = tuple(tuple(taking[i] for i in turn) for turn in dealt)
        work = {
            worker: {client: steps[client] for client in turn if client in chosen}
            for worker, turn in enumerate(turns)
        }
        return {worker: clients for worker, clients in work.items() if clients}

    def _schedule(self, client: int) -> Schedule:
        samples = self.plan.client_samples[client]
        return Schedule(samples, self.job.batch_size, self.job.seed, client)

    def _steps(self, client: int, number: int) -> range:
        return range(
            *round_steps(
                self._schedule(client),
                epochs=self.job.epochs,
                rounds=self.plan.rounds,
                sync=self.job.sync,
                round_number=number,
            )
        )

    async def _train_in_turn(
        self,
        worker: int,
        clients: Mapping[int, range],
        number: int,
        clock: RoundClock,
        scores: messages.ScoreFirst | None,
    ) -> list[TrainedClient]:
        """One worker's round, client by client."""
        load = sum(map(len, clients.values()))
        trained = []
        for client, steps in clients.items():
            is_late = partial(clock.is_late, load)
            try:
                trained.append(
                    await self._train_client(worker, client, number, steps, is_late, scores)
                )
            except ActivationFailed as failure:
                if failure.cause != TrainingDiverged.kind or not self.strategy.sees_each:
                    raise
                self._left_out(number, failure)
            scores = None
        clock.worker_done(load)
        return trained

    def _left_out(self, number: int, failure: ActivationFailed) -> None:
        """Go on without a client whose training has diverged; one has to be left."""
        self._diverged.append(failure)
        told = f"round {number} goes on without one client: {failure.reason}"
        self.emit(Noted(message=told, matters=True))

    async def _train_client(
        self,
        worker: int,
        client: int,
        number: int,
        steps: range,
        is_late: Callable[[], bool],
        scores: messages.ScoreFirst | None,
    ) -> TrainedClient:
        """One client's round, segment by segment."""
        keys = self.invoker.keys
        own_key = self.own[client].key if client in self.own else None
        rate_sum = self._rate_sum(client, steps)
        terms = step_terms(self.strategy, keys, number, own_key)
        keeps = client_keeps(self.strategy, keys, number, own_key, rate_sum or 0.0)
        state_key, next_step, samples, loss_sum = keys.state(number - 1), steps.start, 0, 0.0
        checkpoints: list[str] = []
        while True:
            segment = len(checkpoints)
            request = messages.TrainRequest(
                network=self.network(),
                worker=worker,
                client=client,
                round=number,
                segment=segment,
                attempt=0,
                batch_size=self.job.batch_size,
                start_step=next_step,
                stop_step=steps.stop,
                samples_before=samples,
                micro_batches=1,
                block_steps=1,
                heed_memory=True,
                shard_key=keys.shard("train", self.crew.assignment.names[client]),
                state_key=state_key,
                initialise=number == 1 and segment == 0,
                update_key="",
                checkpoint_key="",
                progress_key=keys.progress,
                optimizer_state=self.job.optimizer_state,
                # A checkpoint has them already.
                optimizer_key=self.optimizers.get(client) if segment == 0 else None,
                rate_schedule=self.job.rate_schedule,
                total_steps=self._total_steps(client),
                clients=len(self.plan.client_samples),
                terms=terms,
                keeps=keeps,
                tells_untrained=self.strategy.advances,
                scores=scores if segment == 0 else None,
            )
            ended = await self._segment(request, is_late)
            sent, reply = ended.request, ended.reply
            self.precision = self.precision or reply.precision
            samples += reply.samples
            loss_sum += reply.loss_sum
            if reply.outcome == "ok":
                contribution = Contribution(
                    client=client,
                    steps=len(steps),
                    samples=samples,
                    loss=loss_sum / samples,
                    epochs=samples / self.plan.client_samples[client],
                    rate=None if rate_sum is None else rate_sum / len(steps),
                )
                weight, sums = weights_of(self.strategy, contribution, number)
                update = messages.Update(
                    client=client,
                    worker=worker,
                    attempt=sent.attempt,
                    key=sent.update_key,
                    samples=samples,
                    weight=weight,
                    sums=sums,
                )
                spent = (*checkpoints, *self._replace_kept(sent))
                return TrainedClient(update, contribution, loss_sum, spent)
            if reply.outcome == "continued-memory":
                self._workers.give_room(worker)
            next_step, state_key = reply.next_step, sent.checkpoint_key
            checkpoints.append(state_key)

    def _rate_sum(self, client: int, steps: range) -> float | None:
        """The learning rates of a client's steps, summed; None where SGD does not take them."""
        if self._sgd is None:
            return None
        factors = rate_factors(
            self.job.rate_schedule,
            steps.start,
            steps.stop,
            self._total_steps(client),
            clients=len(self.plan.client_samples),
        )
        return self._sgd.rate * float(factors.sum(dtype=np.float64))

    def _total_steps(self, client: int) -> int:
        return self.job.epochs * self._schedule(client).steps_per_epoch

    def _replace_kept(self, sent: messages.TrainRequest) -> list[str]:
        """Remember where a client has left what it keeps; the keys that this replaces."""
        client, replaced = sent.client, []
        if sent.new_optimizer_key is not None:
            replaced += [self.optimizers[client]] if client in self.optimizers else []
            self.optimizers[client] = sent.new_optimizer_key
        if sent.keeps is not None:
            replaced += [self.own[client].key] if client in self.own else []
            self.own[client] = Kept(sent.keeps.new_own_key, sent.round)
        return replaced

    async def _segment(self, request: messages.TrainRequest, is_late: Callable[[], bool]) -> _Ended:
        """The activation of this segment that ended well; lost ones are replaced."""
        tries = _Tries(request, self.invoker.keys)

        async def send(attempt: Attempt) -> _Ended:
            return await self._speculation.first(
                lambda: self._send(tries.next(attempt), attempt),
                wanted=lambda: tries.count == 1 and self._is_copied(request.worker, is_late),
            )

        return await self._workers.persist(request.worker, send)

    def _is_copied(self, worker: int, is_late: Callable[[], bool]) -> bool:
        """Whether a second container starts for a worker that is late, and there is room for it."""
        if not is_late() or not self._has_room(worker):
            return False
        self.emit(Noted(message=f"worker {worker} is late; a second container tries too"))
        return True

    async def _send(self, request: messages.TrainRequest, attempt: Attempt) -> _Ended:
        call = await self._workers.call(
            "train", request, request.worker, attempt, number=request.round
        )
        call = replace(
            call, client=request.client, segment=request.segment, attempt=request.attempt
        )
        return _Ended(request, await self.invoker.call(call, messages.TrainReply))

    def _has_room(self, worker: int) -> bool:
        """Whether a second container of this worker's size fits."""
        on_gpu = self.plan.gpu_actions
        if on_gpu is not None and on_gpu <= self.plan.workers:
            return False
        return self._workers.free_mb(worker) >= 2 * self.attempt(worker).memory_mb


@dataclass(frozen=True, slots=True)
class _Ended:
    """An activation that ended well: what was sent, and the reply."""

    request: messages.TrainRequest
    reply: messages.TrainReply


@dataclass(slots=True)
class _Tries:
    """The activations of one segment, each with keys of its own: a late one disturbs nobody."""

    request: messages.TrainRequest
    keys: RunKeys
    count: int = 0

    def next(self, attempt: Attempt) -> messages.TrainRequest:
        number, self.count = self.count, self.count + 1
        request, keys = self.request, self.keys
        place = (request.round, request.client, request.segment, number)
        own = request.optimizer_state == "local"
        return replace(
            request,
            attempt=number,
            micro_batches=attempt.micro_batches,
            block_steps=attempt.block_steps,
            heed_memory=attempt.heed_memory,
            update_key=keys.update(*place),
            checkpoint_key=keys.checkpoint(*place),
            new_optimizer_key=keys.optimizer(*place) if own else None,
            keeps=request.keeps and replace(request.keeps, new_own_key=keys.own(*place)),
            scores=request.scores
            and replace(request.scores, batch_size=score_batch(attempt.micro_batches)),
        )
