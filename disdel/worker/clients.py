"""A train activation of a federation: clients of one round train in turn, in one container.

Between two clients there is nothing but the next one's samples and the round's weights: the network
stays built, its graphs traced, and the state of the round in memory. What clients have changed is
added up here (`exact_sum`), so that one sum leaves the container, whoever has trained in it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from safetensors.numpy import load

from disdel.errors import TrainingDiverged, UsageError
from disdel.protocol.client_messages import (
    Begun,
    ClientResult,
    ClientTurn,
    ScoreSums,
    TrainClientsReply,
    TrainClientsRequest,
)
from disdel.protocol.keys import RunKeys
from disdel.protocol.messages import FROZEN
from disdel.runtimes.base import Trainer, split_state, sum_of
from disdel.store.codec import encode, encoded, read_tensors
from disdel.types.arrays import Array, Tensors
from disdel.types.phases import STORE_MARGIN_S
from disdel.worker.ahead import MOST_CLIENTS, read_ahead
from disdel.worker.cancellation import Cancelled, check_cancelled
from disdel.worker.client_turns import RoundState, constant_factors, schedule_of, used_by
from disdel.worker.context import Context, ProgressEntry, Throttle
from disdel.worker.model_file import store_model
from disdel.worker.network import TrainerCache
from disdel.worker.own_data import OwnData
from disdel.worker.protecting import Protection
from disdel.worker.secure import ClientSecrets
from disdel.worker.shards import Samples, ShardCache
from disdel.worker.stepping import Ending, Pace, take_steps
from disdel.worker.summing import RoundUpdates, told_untrained
from disdel.worker.terms import added_terms
from disdel.worker.unprotected import Unprotected
from openwhisk_local.machine.allocator import give_back_freed_memory

# How often it tells where it is, and asks whether anybody still waits: one right after the other,
# since to have the store's client back in the processor's caches takes longer than a request.
_PROGRESS_INTERVAL_S = 0.5
# Before a round's deadline, what was summed must be on its way.
_HAND_IN_S = 0.5


class _TimeIsUp(Exception):
    """The round's deadline is so near that nothing of a client's turn will count."""


def train_clients(
    request: TrainClientsRequest,
    context: Context,
    trainers: TrainerCache,
    shards: ShardCache,
    states: RoundState,
    own_data: OwnData | None = None,
) -> TrainClientsReply:
    """Train the clients of a request, and store the sum of their updates.

    Raises:
        AggregationError: another set of clients was fixed for the secure sum of the round.
        Cancelled: the state of the round has been removed meanwhile.
        StoreError: the state or samples cannot be read, or the sum not written.
    """
    protection = _protection(request, context)
    own_data = own_data or OwnData()
    return _Activation(request, context, trainers, shards, states, protection, own_data).run()


def _protection(request: TrainClientsRequest, context: Context) -> Unprotected:
    if request.clipping is None and request.secure is None:
        return Unprotected()

    return Protection(request, ClientSecrets(context.client_secret))


@dataclass(slots=True)
class _Activation:
    """One activation, on its way through its clients."""

    request: TrainClientsRequest
    context: Context
    trainers: TrainerCache
    shards: ShardCache
    states: RoundState
    protection: Unprotected
    own_data: OwnData
    pace: Pace = field(init=False)
    results: list[ClientResult] = field(default_factory=list)
    begun: Begun | None = None
    trained: tuple[str, ...] = ()
    _before: dict[str, Array] = field(default_factory=dict)
    _updates: RoundUpdates | None = None
    _shown: Throttle = field(default_factory=lambda: Throttle(_PROGRESS_INTERVAL_S))
    # In this activation; the slowest client's for one step, and for its score or count.
    _steps: int = 0
    _train_s: float = 0.0
    _step_s: float = 0.0
    _score_s: float = 0.0
    # Of the round's state; `states` counts what it reads over its life.
    _read_bytes: int = 0

    def __post_init__(self) -> None:
        request = self.request
        self.pace = Pace(
            micro_batches=request.micro_batches,
            block_steps=request.block_steps,
            heed_memory=request.heed_memory,
        )

    def run(self) -> TrainClientsReply:
        self._say("loading")
        self.trainers.import_framework(self.request.network.runtime)
        self.context.clock.ended("imported")
        try:
            ending = self._train_all()
        finally:
            self.shards.settle()
        self.context.clock.ended("computed")
        if self._before:
            # Else no client had samples, and nobody may have made the state yet.
            self._check_cancelled()
        self._say("storing")
        if self._updates is not None:
            self._updates.hand_in([one.client for one in self.results if not one.refused])
        self.context.clock.ended("stored")
        give_back_freed_memory()
        self._say("done" if ending == "ok" else ending)
        framework = self.trainers.framework
        return TrainClientsReply(
            outcome=ending,
            results=tuple(self.results),
            steps=self._steps,
            train_s=self._train_s,
            moved_bytes=self._read_bytes + (self._updates.moved_bytes if self._updates else 0),
            begun=self.begun,
            peak_mb=self.context.peak_mb(),
            working_set_mb=self.context.working_set_mb(),
            framework_anonymous_mb=None if framework is None else framework.anonymous_mb,
            framework_mapped_mb=None if framework is None else framework.mapped_mb,
            phases=self.context.clock.phases(),
        )

    def _train_all(self) -> Ending:
        turns = self.request.turns
        for index, turn in enumerate(turns):
            if self._leaves_to_others(turn):
                return "continued-time"
            begun = None if self.results else self.request.begun
            try:
                ending = self._train(turn, turns[index + 1 : index + 1 + MOST_CLIENTS], begun)
            except _TimeIsUp:
                return "ok"
            if ending != "ok":
                return ending
        return "ok"

    def _leaves_to_others(self, turn: ClientTurn) -> bool:
        """Whether a client is better begun in an activation that has all of its time."""
        if not self.results:
            return False
        needed_s = (turn.stop_step - turn.start_step) * self._step_s + self._score_s
        return self.context.remaining_s() < needed_s + 2 * self.pace.slowest_s + STORE_MARGIN_S

    def _train(
        self, turn: ClientTurn, following: Sequence[ClientTurn], begun: Begun | None
    ) -> Ending:
        """One client's turn; it is in the sum and the results where it has ended."""
        clock, first = self.context.clock, not self._before
        began_s = time.perf_counter()
        try:
            samples = self._samples(turn)
        except UsageError as refused:
            self.results.append(self._refused(turn, began_s, str(refused)))
            return "ok"
        own_s = time.perf_counter() - began_s
        if turn.counts:
            self.results.append(self._counted(turn, samples, own_s))
            return "ok"
        if first:
            clock.ended("data")
        trainer = self.trainers.get(self.request.network, samples.x)
        read_ahead(
            *(self.request, following, samples, self.shards, self.context),
            seeds=trainer.takes_seeds,
        )
        if first:
            clock.ended("built")
            self._begin_round(trainer)
        # What the first of all clients waits for is not its own.
        loaded_s = time.perf_counter()
        trainer.compute_in(self.request.network.precision or "float32")
        trainer.load_state(self._before if begun is None else self._read(turn, begun))
        if turn.keeps is not None and self.request.terms is not None:
            terms = replace(self.request.terms, own_key=turn.keeps.own_key)
            trainer.add_terms(added_terms(self.context.store, terms, self.trained))
        if first:
            clock.ended("loaded")
        used = used_by(turn, samples, self.request.network.seed)
        schedule = schedule_of(turn, len(samples.x), self.request.network.seed)
        start = turn.start_step if begun is None else begun.next_step
        began_s = time.perf_counter()
        try:
            taken = take_steps(
                start,
                turn.stop_step,
                context=self.context,
                trainer=trainer,
                samples=used,
                schedule=schedule,
                pace=self.pace,
                factors=lambda start, stop: constant_factors(turn, start, stop),
                where=f"round {self.request.round}",
                before_block=self._before_block,
                after_block=lambda step, loss: self._say_step(turn, step, loss),
            )
        except TrainingDiverged as diverged:
            self.results.append(self._refused(turn, began_s, str(diverged)))
            return "ok"
        train_s = time.perf_counter() - began_s
        steps = taken.reached - start
        self._steps, self._train_s = self._steps + steps, self._train_s + train_s
        self._step_s = max(self._step_s, train_s / max(1, steps))
        seen = schedule.samples_between(start, taken.reached)
        loss_sum = taken.loss_sum
        if begun is not None:
            seen, loss_sum = seen + begun.samples, loss_sum + begun.loss_sum
        if taken.ending != "ok":
            self._leave(turn, trainer, taken.reached, seen, loss_sum)
            return taken.ending
        result = ClientResult(
            client=turn.client,
            steps=turn.stop_step - turn.start_step,
            samples=seen,
            loss_sum=loss_sum,
            train_s=train_s,
            score=self._score(turn, trainer, samples),
            labels=self._labels(turn, samples),
        )
        if turn.model_key is not None:
            store_model(trainer, self.context.store, turn.model_key)
        if self.request.exponent is not None or turn.update_key is not None:
            assert self._updates is not None
            result = self._updates.add(turn, split_state(trainer.peek())[0], result)
        self.results.append(
            replace(result, turn_s=own_s + time.perf_counter() - loaded_s, steps_here=steps)
        )
        return "ok"

    def _samples(self, turn: ClientTurn) -> Samples:
        """A client's: those in the store, or its own.

        Raises:
            UsageError: its own cannot be had.
        """
        if turn.shard_key is not None:
            return self.shards.get(turn.shard_key, self.context, "train")
        model = self.request.network.model
        return self.own_data.get(turn.client, turn.samples, model, turn.split)

    def _counted(self, turn: ClientTurn, samples: Samples, took_s: float) -> ClientResult:
        """How many samples a client has; none of them is looked at."""
        # The next one's may take as long.
        self._score_s = max(self._score_s, took_s)
        count = len(samples.x)
        result = ClientResult(client=turn.client, steps=0, samples=count, loss_sum=0.0, train_s=0.0)
        return replace(result, labels=self._labels(turn, samples))

    def _labels(self, turn: ClientTurn, samples: Samples) -> tuple[int, ...]:
        if not turn.asks_labels:
            return ()
        return self.own_data.labels(samples.y, self.request.network.model.targets[0].classes)

    def _score(self, turn: ClientTurn, trainer: Trainer, own: Samples) -> ScoreSums | None:
        """The score of a client's model where one is asked for."""
        if not (turn.score_keys or turn.scores_own):
            return None
        self._say("scoring", client=turn.client)
        began_s, size = time.perf_counter(), self.request.score_batch
        samples, parts = 0, []
        for scored_on in self._scored(turn, own):
            batches = (slice(at, at + size) for at in range(0, len(scored_on.x), size))
            parts.append(sum_of(trainer.score(scored_on.x[b], scored_on.y[b]) for b in batches))
            samples += len(scored_on.x)
        scored = sum_of(parts)
        self._score_s = max(self._score_s, time.perf_counter() - began_s)
        if not math.isfinite(scored.loss_sum):
            return None
        return ScoreSums(
            samples=samples,
            loss_sum=scored.loss_sum,
            correct=scored.correct,
            labels=scored.labels,
        )

    def _scored(self, turn: ClientTurn, own: Samples) -> Iterator[Samples]:
        """What a client's model is scored on; one part is held at a time."""
        if turn.scores_own:
            yield self.own_data.get(turn.client, None, self.request.network.model, "test")
        for key in turn.score_keys:
            is_own = key == turn.shard_key
            yield own if is_own else self.shards.get(key, self.context, "score")

    def _begin_round(self, trainer: Trainer) -> None:
        """Have the state of the round; the first of all activations makes it from the seed."""
        request, store = self.request, self.context.store
        self.trained = trainer.trained()
        if request.initialise and store.open(request.state_key) is None:
            initial = split_state(trainer.state())[0]
            store.put_if_absent(request.state_key, encode(initial, self._told(initial, trainer)))
        read_before = self.states.read_bytes
        self._before = self.states.get(request.state_key, self.context)
        self._read_bytes += self.states.read_bytes - read_before
        # Terms of a client's own are added in its turn.
        if not any(turn.keeps for turn in request.turns):
            trainer.add_terms(added_terms(store, request.terms, self.trained))
        self._updates = RoundUpdates(
            *(request, store, self.protection, self._before, self.trained),
            frozen=self.states.frozen,
        )

    def _told(self, initial: Tensors, trainer: Trainer) -> dict[str, str]:
        """What the first state says of its tensors, and all after it."""
        told = told_untrained(initial, self.trained) if self.request.tells_untrained else {}
        if self.request.clipping is not None:
            # What no client changes is to get no noise.
            told[FROZEN] = json.dumps(sorted(trainer.frozen()))
        return told

    def _read(self, turn: ClientTurn, begun: Begun) -> Tensors:
        store, key = self.context.store, begun.state_key
        if self.protection.is_secure:
            return load(self.protection.opened(turn.client, key, bytes(store.get(key))))
        return read_tensors(store, key)

    def _before_block(self) -> None:
        until_s = self.request.until_s
        if until_s is not None and time.time() > until_s - self.pace.slowest_s - _HAND_IN_S:
            raise _TimeIsUp

    def _leave(
        self, turn: ClientTurn, trainer: Trainer, reached: int, samples: int, loss_sum: float
    ) -> None:
        """Store the state of a client that another activation is to go on with."""
        if reached == turn.start_step:
            return
        key, state = self.request.checkpoint_key, encoded(trainer.peek())
        if self.protection.is_secure:
            state = iter([self.protection.sealed(turn.client, key, b"".join(state))])
        self.context.store.put_stream(key, state)
        self.begun = Begun(
            state_key=key,
            next_step=reached,
            samples=samples,
            loss_sum=loss_sum,
        )

    def _refused(self, turn: ClientTurn, began_s: float, why: str) -> ClientResult:
        return ClientResult(
            client=turn.client,
            steps=0,
            samples=0,
            loss_sum=0.0,
            train_s=time.perf_counter() - began_s,
            refused=why,
        )

    def _check_cancelled(self) -> None:
        request, store = self.request, self.context.store
        check_cancelled(store, state_key=request.state_key, progress_key=request.progress_key)
        if request.open_key is None:
            return
        closed = store.get_field(request.open_key, RunKeys.CLOSED)
        if closed is not None and int(closed) >= request.round:
            raise Cancelled(f"round {request.round} is over")

    def _say(self, state: str, **fields: object) -> None:
        shown = {"state": state, "round": self.request.round, **fields}
        entry = ProgressEntry(self.request.worker, shown)
        self.context.report(self.request.progress_key, entry)

    def _say_step(self, turn: ClientTurn, step: int, loss: float) -> None:
        if not self._shown.due():
            return
        self._say(
            "training",
            client=turn.client,
            first_step=turn.start_step,
            last_step=turn.stop_step,
            step=step,
            **({} if self.protection.is_secure else {"loss": loss}),
        )
        self._check_cancelled()
