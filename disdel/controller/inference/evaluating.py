"""The evaluate actions of an infer run: every slice is brought to its end, whatever happens.

A slice is a chain of segments, nearly always of one. A segment that was lost runs again, with more
memory or smaller batches where that was the cause; one that came near its time or memory limit has
stored what it had and is continued from there.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.berths import Berth, Berths, berth_at
from disdel.controller.invoking.invoker import Invoker, all_of
from disdel.controller.invoking.recovery import Attempt
from disdel.controller.invoking.workers import Workers
from disdel.controller.session import Session
from disdel.planner.memory import BLOCK_STEPS
from disdel.protocol import messages
from disdel.store.codec import read_tensors
from disdel.types import InferPlan, RuntimeName, Slice, TargetSpec
from disdel.types.arrays import Array, Tensors


class Evaluators:
    """The evaluate actions of one run.

    Args:
        plan: how many there are, and how large.
        runtime: what they compute with.
        target: what is predicted of a sample.
        action: evaluate.
        invoker: runs activations.
    """

    def __init__(
        self,
        plan: InferPlan,
        *,
        runtime: RuntimeName,
        target: TargetSpec,
        action: SizedAction,
        invoker: Invoker,
    ) -> None:
        self._plan = plan
        self._runtime = runtime
        self._target = target
        self._invoker = invoker
        self._workers = Workers(
            action=action,
            invoker=invoker,
            name="evaluate",
            numbers=[part.worker for part in plan.slices],
            berths=_berths(plan, invoker.session),
            batch_size=plan.batch_size,
            batches=lambda attempt: f" in batches of {_batch_size(plan.batch_size, attempt)}",
        )

    async def run(self) -> tuple[Array, Array | None]:
        """Outputs for all samples, (samples, …) float32, in their order, and which labels count.

        The latter is (samples, *label_shape) bool; None where all do.

        Raises:
            ActivationFailed: a slice failed in a way that another attempt would not mend.
        """
        slices = await all_of(self._slice(part) for part in self._plan.slices)
        found = [tensors for parts in slices for tensors in parts]
        outputs = np.concatenate([tensors["outputs"] for tensors in found])
        if not any("counts" in tensors for tensors in found):
            return outputs, None
        return outputs, np.concatenate([_counts(tensors, self._target) for tensors in found])

    async def _slice(self, part: Slice) -> list[dict[str, Array]]:
        """What its activations have found, in the order of its samples."""
        found: list[dict[str, Array]] = []
        reached = 0
        while True:
            sent, reply = await self._segment(part.worker, len(found), reached)
            store = self._invoker.session.store
            found.append(dict(await asyncio.to_thread(read_tensors, store, sent.output_key)))
            reached = reply.next_sample
            if reply.outcome == "ok":
                return found
            if reply.outcome == "continued-memory":
                self._workers.give_room(part.worker)

    async def _segment(
        self, worker: int, segment: int, start: int
    ) -> tuple[messages.EvaluateRequest, messages.EvaluateReply]:
        """The activation of a segment that ended well, with its reply."""
        keys, plan = self._invoker.keys, self._plan

        async def send(attempt: Attempt) -> tuple[messages.EvaluateRequest, messages.EvaluateReply]:
            request = messages.EvaluateRequest(
                runtime=self._runtime,
                worker=worker,
                threads=plan.threads,
                batch_size=_batch_size(plan.batch_size, attempt),
                start_sample=start,
                heed_memory=attempt.heed_memory,
                target=self._target,
                model_key=keys.model,
                input_key=keys.input(worker),
                output_key=keys.output(worker, segment, attempt.losses),
                progress_key=keys.progress,
            )
            call = await self._workers.call("evaluate", request, worker, attempt)
            call = replace(call, segment=segment)
            return request, await self._invoker.call(call, messages.EvaluateReply)

        return await self._workers.persist(worker, send)


def _counts(tensors: Tensors, target: TargetSpec) -> Array:
    """Which labels count, (samples, *label_shape) bool, as an activation has told it."""
    if "counts" not in tensors:
        return np.ones((len(tensors["outputs"]), *target.shape), np.bool_)
    return tensors["counts"].astype(np.bool_)


def _berths(plan: InferPlan, session: Session) -> Berths:
    """Where each action is, and what it may have there."""
    shared = Berth(
        planned=Attempt(memory_mb=plan.memory_mb),
        memory_max_mb=plan.memory_max_mb,
        pool_mb=plan.pool_mb,
    )
    made_of = session.endpoints
    if made_of is None:
        return Berths(shared)
    return Berths(
        shared,
        endpoints={
            one.endpoint: berth_at(one, made_of.named(one.endpoint).size_mb)
            for one in plan.endpoints
        },
        homes={worker: one.endpoint for one in plan.endpoints for worker in one.workers},
        answers=session.platform.answers,
    )


def _batch_size(planned: int, attempt: Attempt) -> int:
    """Samples of a batch: fewer after a loss that more memory could not mend, or of time."""
    parts = max(attempt.micro_batches, BLOCK_STEPS // attempt.block_steps)
    return max(1, planned // parts)
