"""The workers of a run: each is brought through its rounds, whatever happens to its containers.

A worker's round is a chain of segments. A segment that was lost runs again from the state that it
started from; one that asks to go on does so where it stopped. Both may move the worker to a larger
action, and the worker stays there. A segment that takes far longer than the other workers' rounds
gets a twin, and the first of the two to end counts.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from disdel.controller.invoking.actions import SizedAction, persist
from disdel.controller.invoking.background import background
from disdel.controller.invoking.invoker import Call, Invoker, all_of
from disdel.controller.invoking.recovery import Attempt, after_warning
from disdel.errors import ActivationFailed
from disdel.planner.memory import score_batch
from disdel.protocol import messages
from disdel.protocol.keys import RunKeys
from disdel.runtimes.schedule import Schedule, round_steps
from disdel.types import DEFAULT_OPTIMIZER, ModelSpec, Plan, Shard, TrainJob
from disdel.types.events import Listener, Noted

# A worker is a straggler when it takes this many times as long as the median of those that are
# done, and at least so much longer: a twin costs a container.
STRAGGLER_FACTOR = 2.0
STRAGGLER_MARGIN_S = 5.0
_WATCH_INTERVAL_S = 0.5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trained:
    """A worker's round: its part, its loss summed over the samples, and keys that are spent."""

    part: messages.Part
    loss_sum: float
    spent: tuple[str, ...]


@dataclass(slots=True)
class Fleet:
    """The train workers of one run.

    Attributes:
        job: what the user asked for.
        plan: how it is done.
        model: the network.
        action: the train action.
        invoker: runs activations and keeps their records.
        emit: told what a user should know.
        slots: where each worker's optimizer is kept, when workers keep their own.
    """

    job: TrainJob
    plan: Plan
    model: ModelSpec
    action: SizedAction
    invoker: Invoker
    emit: Listener
    slots: dict[int, str] = field(default_factory=dict)
    _attempts: dict[int, Attempt] = field(default_factory=dict)
    _overtaken: set[asyncio.Task[_Ended]] = field(default_factory=set)

    def attempt(self, worker: int) -> Attempt:
        """How this worker is run at present."""
        planned = Attempt(
            memory_mb=self.plan.memory_mb,
            micro_batches=self.plan.micro_batches,
            block_steps=self.plan.block_steps,
        )
        return self._attempts.get(worker, planned)

    def recut(self, plan: Plan) -> None:
        """Go on with another number of workers."""
        self.plan = plan
        self._attempts = {
            worker: replace(attempt, memory_mb=max(attempt.memory_mb, plan.memory_mb))
            for worker, attempt in self._attempts.items()
        }

    async def exist(self) -> None:
        """Create the action in the size that was planned."""
        await self.action.of_size(self.plan.memory_mb, generation=self.invoker.generation)

    async def train_round(self, number: int) -> list[Trained]:
        """Every worker's part of a round, all trained at the same time.

        Raises:
            ActivationFailed: a worker failed in a way that another attempt would not mend.
        """
        clock = _RoundClock()
        work = [(shard, self._steps(shard, number)) for shard in self.plan.shards]
        return await all_of(
            self._train_worker(shard, number, steps, clock) for shard, steps in work if len(steps)
        )

    async def finish(self) -> None:
        """Wait no more for activations whose twins were faster."""
        unheard = {task for task in self._overtaken if not task.done()}
        self.invoker.journal.overtaken += len(unheard)
        await _cancel(unheard)

    def active(self, number: int) -> int:
        """How many workers have something to do in a round."""
        return sum(bool(len(self._steps(shard, number))) for shard in self.plan.shards)

    def network(self) -> messages.Network:
        """The network as the workers build it."""
        return messages.Network(
            runtime=self.plan.runtime,
            model=self.model,
            optimizer=self.job.optimizer or (None if self.model.own else DEFAULT_OPTIMIZER),
            learning_rate=self.job.learning_rate,
            seed=self.job.seed,
            threads=self.plan.threads,
            precision=self.job.precision,
            gpu_memory_mb=self.plan.gpu_memory_mb,
        )

    def _schedule(self, shard: Shard) -> Schedule:
        return Schedule(shard.samples, self.job.batch_size, self.job.seed, shard.worker)

    def _steps(self, shard: Shard, number: int) -> range:
        return range(
            *round_steps(
                self._schedule(shard),
                epochs=self.job.epochs,
                rounds=self.plan.rounds,
                sync=self.job.sync,
                round_number=number,
            )
        )

    async def _train_worker(
        self, shard: Shard, number: int, steps: range, clock: _RoundClock
    ) -> Trained:
        """One worker's round, segment by segment."""
        keys = self.invoker.keys
        state_key, next_step, samples, loss_sum = keys.state(number - 1), steps.start, 0, 0.0
        checkpoints: list[str] = []
        while True:
            segment = len(checkpoints)
            request = messages.TrainRequest(
                network=self.network(),
                worker=shard.worker,
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
                shard_key=keys.shard("train", shard),
                state_key=state_key,
                initialise=number == 1 and segment == 0,
                part_key="",
                checkpoint_key="",
                progress_key=keys.progress,
                optimizer_state=self.job.optimizer_state,
                # A checkpoint has them already.
                slots_key=self.slots.get(shard.worker) if segment == 0 else None,
                rate_schedule=self.job.rate_schedule,
                total_steps=self.job.epochs * self._schedule(shard).steps_per_epoch,
                workers=self.plan.workers,
            )
            ended = await self._segment(request, clock)
            sent, reply = ended.request, ended.reply
            samples += reply.samples
            loss_sum += reply.loss_sum
            if reply.outcome == "ok":
                clock.worker_done()
                part = messages.Part(
                    worker=shard.worker,
                    attempt=sent.attempt,
                    key=sent.part_key,
                    samples=samples,
                    weight=samples if self.job.average == "samples" else 1,
                )
                return Trained(part, loss_sum, (*checkpoints, *self._replace_slots(sent)))
            if reply.outcome == "continued-memory":
                self._give_room(shard.worker)
            next_step, state_key = reply.next_step, sent.checkpoint_key
            checkpoints.append(state_key)

    def _replace_slots(self, sent: messages.TrainRequest) -> list[str]:
        """Remember where a worker has left its optimizer; the keys that this replaces."""
        if sent.new_slots_key is None:
            return []
        before = self.slots.get(sent.worker)
        self.slots[sent.worker] = sent.new_slots_key
        return [] if before is None else [before]

    async def _segment(self, request: messages.TrainRequest, clock: _RoundClock) -> _Ended:
        """The activation of this segment that ended well; lost ones are replaced."""
        tries = _Tries(request, self.invoker.keys)

        async def send(attempt: Attempt) -> _Ended:
            running = {background(self._send(tries.next(attempt), attempt))}
            try:
                ended = await self._first(running, tries, clock)
            except BaseException:
                await _cancel(running)
                raise
            # Killed, it may be the very reason why its twin was needed: its end counts.
            self._overtaken |= running
            return ended

        return await self._persist(request.worker, send)

    async def _persist(self, worker: int, send: Callable[[Attempt], Awaitable[T]]) -> T:
        def moved(following: Attempt, failure: ActivationFailed) -> None:
            self._move(worker, following, f"was lost ({failure.outcome})")

        result = await persist(
            send,
            self.attempt(worker),
            ceiling_mb=lambda: self._ceiling_mb(worker),
            batch_size=self.job.batch_size,
            moved=moved,
        )
        # The losses are behind this worker; the way in which it runs is kept.
        self._attempts[worker] = replace(self.attempt(worker), losses=0)
        return result

    async def score(self, request: messages.ScoreRequest) -> messages.ScoreReply:
        """Score a slice on this worker's warm container.

        Raises:
            ActivationFailed: it failed in a way that another attempt would not mend.
        """

        async def send(attempt: Attempt) -> messages.ScoreReply:
            sized = replace(request, batch_size=score_batch(attempt.micro_batches))
            call = await self._call("score", sized, request.worker, request.round, attempt)
            return await self.invoker.call(call, messages.ScoreReply)

        return await self._persist(request.worker, send)

    async def _first(
        self, running: set[asyncio.Task[_Ended]], tries: _Tries, clock: _RoundClock
    ) -> _Ended:
        """The first of an activation and its twin to end well; the twin starts when it is late."""
        worker = tries.request.worker
        while True:
            done, _ = await asyncio.wait(
                running, timeout=_WATCH_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                running.discard(task)
                if task.exception() is None or not running:
                    return task.result()
            if len(running) == tries.count == 1 and clock.is_late() and self._has_room(worker):
                self.emit(Noted(message=f"worker {worker} is late; a second container tries too"))
                attempt = self.attempt(worker)
                running.add(background(self._send(tries.next(attempt), attempt)))

    async def _send(self, request: messages.TrainRequest, attempt: Attempt) -> _Ended:
        call = await self._call("train", request, request.worker, request.round, attempt)
        call = replace(call, segment=request.segment, attempt=request.attempt)
        return _Ended(request, await self.invoker.call(call, messages.TrainReply))

    async def _call(
        self, task: str, request: object, worker: int, number: int, attempt: Attempt
    ) -> Call:
        spec = await self.action.of_size(
            attempt.memory_mb,
            generation=self.invoker.generation,
            longest=attempt.longest,
        )
        return Call(
            action=spec.name,
            image=spec.image,
            request=request,
            task=task,
            worker=worker,
            round=number,
            attempt=attempt.losses,
            memory_mb=spec.memory_mb,
            timeout_s=spec.timeout_s,
        )

    def _give_room(self, worker: int) -> None:
        """After a segment that saved its work for lack of memory."""
        following = after_warning(
            self.attempt(worker),
            ceiling_mb=self._ceiling_mb(worker),
            batch_size=self.job.batch_size,
        )
        self._move(worker, following, "short of memory")

    def _move(self, worker: int, following: Attempt, why: str) -> None:
        self._attempts[worker] = following
        parts = (
            f", batches in {following.micro_batches} parts" if following.micro_batches > 1 else ""
        )
        self.emit(
            Noted(message=f"worker {worker} {why}; it goes on with {following.memory_mb} MB{parts}")
        )

    def _ceiling_mb(self, worker: int) -> int:
        """The most memory that this worker's action can have beside the others'."""
        return min(self.plan.memory_max_mb, self._free_mb(worker))

    def _free_mb(self, worker: int) -> int:
        if self.plan.pool_mb is None:
            return self.plan.memory_max_mb
        others = (s.worker for s in self.plan.shards if s.worker != worker)
        taken = sum(self.attempt(other).memory_mb for other in others)
        return self.plan.pool_mb - taken - self.plan.collect_memory_mb

    def _has_room(self, worker: int) -> bool:
        """Whether a second container of this worker's size fits."""
        on_gpu = self.plan.gpu_actions
        if on_gpu is not None and on_gpu <= len(self.plan.shards):
            return False
        return self._free_mb(worker) >= 2 * self.attempt(worker).memory_mb


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
        place = (request.round, request.worker, request.segment, number)
        own = request.optimizer_state == "local"
        return replace(
            request,
            attempt=number,
            micro_batches=attempt.micro_batches,
            block_steps=attempt.block_steps,
            heed_memory=attempt.heed_memory,
            part_key=keys.part(*place),
            checkpoint_key=keys.checkpoint(*place),
            new_slots_key=keys.slots(*place) if own else None,
        )


@dataclass(slots=True)
class _RoundClock:
    """How long the workers of a round took that are done."""

    clock: Callable[[], float] = time.monotonic
    started_s: float = 0.0
    finished_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    def worker_done(self) -> None:
        self.finished_s.append(self.clock() - self.started_s)

    def is_late(self) -> bool:
        """Whether a worker that is still running is a straggler."""
        if not self.finished_s:
            return False
        median_s = statistics.median(self.finished_s)
        limit_s = max(STRAGGLER_FACTOR * median_s, median_s + STRAGGLER_MARGIN_S)
        return self.clock() - self.started_s > limit_s
