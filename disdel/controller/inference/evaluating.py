"""The evaluate actions of an infer run: every shard is brought to its end, whatever happens.

A shard is a chain of segments, nearly always of one. A segment that was lost runs again, with more
memory or smaller batches where that was the cause; one that came near its time or memory limit has
stored what it had and is continued from there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import numpy as np

from disdel.controller.invoking.actions import SizedAction, persist
from disdel.controller.invoking.invoker import Call, Invoker, all_of
from disdel.controller.invoking.recovery import Attempt, after_warning
from disdel.errors import ActivationFailed
from disdel.planner.memory import BLOCK_STEPS
from disdel.protocol import messages
from disdel.store.codec import read_tensors
from disdel.types import InferPlan, Shard
from disdel.types.arrays import Array
from disdel.types.events import Noted


@dataclass(slots=True)
class Evaluators:
    """The evaluate actions of one run.

    Attributes:
        plan: how many there are, and how large.
        numbers: whether the model gives a number a sample, and not class probabilities.
        action: evaluate.
        invoker: runs activations.
    """

    plan: InferPlan
    numbers: bool
    action: SizedAction
    invoker: Invoker
    _attempts: dict[int, Attempt] = field(default_factory=dict)

    async def run(self) -> Array:
        """Outputs for all samples, (samples, width) float32, in their order.

        Raises:
            ActivationFailed: a shard failed in a way that another attempt would not mend.
        """
        return np.concatenate(await all_of(self._shard(shard) for shard in self.plan.shards))

    async def _shard(self, shard: Shard) -> Array:
        parts: list[Array] = []
        reached = 0
        while True:
            sent, reply = await self._segment(shard.worker, len(parts), reached)
            store = self.invoker.session.store
            tensors = await asyncio.to_thread(read_tensors, store, sent.output_key)
            parts.append(tensors["outputs"])
            reached = reply.next_sample
            if reply.outcome == "ok":
                return np.concatenate(parts)
            if reply.outcome == "continued-memory":
                following = after_warning(
                    self._attempt(shard.worker),
                    ceiling_mb=self._ceiling_mb(shard.worker),
                    batch_size=self.plan.batch_size,
                )
                self._move(shard.worker, following, "is short of memory")

    async def _segment(
        self, worker: int, segment: int, start: int
    ) -> tuple[messages.EvaluateRequest, messages.EvaluateReply]:
        """The activation of a segment that ended well, with its reply."""
        keys = self.invoker.keys

        async def send(attempt: Attempt) -> tuple[messages.EvaluateRequest, messages.EvaluateReply]:
            request = messages.EvaluateRequest(
                worker=worker,
                threads=self.plan.threads,
                batch_size=_batch_size(self.plan.batch_size, attempt),
                start_sample=start,
                heed_memory=attempt.heed_memory,
                numbers=self.numbers,
                model_key=keys.model,
                input_key=keys.input(worker),
                output_key=keys.output(worker, segment, attempt.losses),
                progress_key=keys.progress,
            )
            spec = await self.action.of_size(
                attempt.memory_mb,
                generation=self.invoker.generation,
                longest=attempt.longest,
            )
            call = Call(
                action=spec.name,
                image=spec.image,
                request=request,
                task="evaluate",
                worker=worker,
                round=0,
                segment=segment,
                attempt=attempt.losses,
                memory_mb=spec.memory_mb,
                timeout_s=spec.timeout_s,
            )
            return request, await self.invoker.call(call, messages.EvaluateReply)

        def moved(following: Attempt, failure: ActivationFailed) -> None:
            self._move(worker, following, f"was lost ({failure.outcome})")

        ended = await persist(
            send,
            self._attempt(worker),
            ceiling_mb=lambda: self._ceiling_mb(worker),
            batch_size=self.plan.batch_size,
            moved=moved,
        )
        # The losses are behind this shard; the way in which it runs is kept.
        self._attempts[worker] = replace(self._attempt(worker), losses=0)
        return ended

    def _attempt(self, worker: int) -> Attempt:
        return self._attempts.get(worker, Attempt(memory_mb=self.plan.memory_mb))

    def _move(self, worker: int, following: Attempt, why: str) -> None:
        self._attempts[worker] = following
        batch = _batch_size(self.plan.batch_size, following)
        self.invoker.emit(
            Noted(
                message=f"evaluate {worker} {why}; it goes on with {following.memory_mb} MB in "
                f"batches of {batch}"
            )
        )

    def _ceiling_mb(self, worker: int) -> int:
        """The most memory that this shard's action can have beside the others'."""
        if self.plan.pool_mb is None:
            return self.plan.memory_max_mb
        others = (shard.worker for shard in self.plan.shards if shard.worker != worker)
        taken = sum(self._attempt(other).memory_mb for other in others)
        return min(self.plan.memory_max_mb, self.plan.pool_mb - taken)


def _batch_size(planned: int, attempt: Attempt) -> int:
    """Samples of a batch: fewer after a loss that more memory could not mend, or of time."""
    parts = max(attempt.micro_batches, BLOCK_STEPS // attempt.block_steps)
    return max(1, planned // parts)
