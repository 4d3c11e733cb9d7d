"""A train activation: one segment of one client's round."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disdel.errors import TrainingDiverged
from disdel.protocol.messages import (
    PRECISION,
    UNTRAINED,
    ScoreFirst,
    TrainReply,
    TrainRequest,
    to_json,
)
from disdel.runtimes.base import Trainer, split_state
from disdel.runtimes.rates import Factors, rate_factors
from disdel.runtimes.schedule import Schedule
from disdel.store.codec import encode, encoded, read_header, read_tensors
from disdel.types.arrays import Array, Tensors
from disdel.types.names import Precision
from disdel.worker.cancellation import Cancelled, check_cancelled
from disdel.worker.context import Context, ProgressEntry, Throttle
from disdel.worker.keeping import store_kept
from disdel.worker.network import TrainerCache
from disdel.worker.score import scored_average
from disdel.worker.shards import Samples, ShardCache
from disdel.worker.stepping import Pace, Taken, take_steps
from disdel.worker.terms import added_terms
from disdel.worker.trial import faster_precision
from openwhisk_local.machine.allocator import give_back_freed_memory

PROGRESS_INTERVAL_S = 0.25


def train_segment(
    request: TrainRequest, context: Context, trainers: TrainerCache, shards: ShardCache
) -> TrainReply:
    """Train from the request's first step to its last, or to where the time limit comes near.

    Raises:
        TrainingDiverged: the loss, also that of the state to begin with, or a weight became
            infinite or not a number.
        Cancelled: the state that the segment started from has been removed meanwhile.
        StoreError: the state or the shard cannot be read, or the result not written.
    """
    watch = _Watch(request, context)
    watch.say("loading")
    clock = context.clock
    trainers.import_framework(request.network.runtime)
    clock.ended("imported")
    samples = shards.get(request.shard_key, context, "train")
    clock.ended("data")
    trainer = trainers.get(request.network, samples.x)
    clock.ended("built")
    # Before steps are tried, of which there are graphs.
    trainer.share_steps(request.clients)
    initial, precision = _load_initial(request, context, trainer, samples)
    infinite = _infinite(initial)
    del initial
    trainer.compute_in(precision)
    trainer.add_terms(added_terms(context.store, request.terms, trainer.trained()))
    clock.ended("loaded")
    if request.scores is not None:
        _tell_score(request, request.scores, context, trainer, shards)
        clock.ended("scored")

    started_s = time.perf_counter()
    taken = _train_steps(request, context, trainer, samples, watch)
    train_s = time.perf_counter() - started_s
    clock.ended("computed")

    _check_cancelled(request, context)
    watch.say("storing")
    give_back_freed_memory()
    schedule = _schedule(request, samples)
    seen = schedule.samples_between(request.start_step, taken.reached)
    metadata = {"samples": str(request.samples_before + seen)}
    state = trainer.peek()
    if request.tells_untrained:
        metadata[UNTRAINED] = json.dumps(sorted(split_state(state)[0].keys() - trainer.trained()))
    _check_finite(request, state, infinite)
    if taken.ending == "ok":
        if request.keeps is not None:
            store_kept(context.store, request.keeps, state, trainer.trained())
        _store_update(request, context, state, metadata)
    else:
        context.store.put_stream(request.checkpoint_key, encoded(state, metadata))
    del state
    clock.ended("stored")
    give_back_freed_memory()
    watch.say("done" if taken.ending == "ok" else taken.ending)
    framework = trainers.framework
    return TrainReply(
        outcome=taken.ending,
        next_step=taken.reached,
        samples=seen,
        loss_sum=taken.loss_sum,
        train_s=train_s,
        peak_mb=context.peak_mb(),
        working_set_mb=context.working_set_mb(),
        framework_anonymous_mb=None if framework is None else framework.anonymous_mb,
        framework_mapped_mb=None if framework is None else framework.mapped_mb,
        phases=clock.phases(),
        precision=precision,
    )


def _tell_score(
    request: TrainRequest,
    wanted: ScoreFirst,
    context: Context,
    trainer: Trainer,
    shards: ShardCache,
) -> None:
    """Score the state that was loaded, and tell it while the round still trains."""
    held_out = shards.get(wanted.shard_key, context, "score")
    scored = scored_average(
        trainer, held_out, wanted.batch_size, number=wanted.round, worker=request.worker
    )
    told = json.dumps(to_json(scored))
    context.store.set_field(wanted.scores_key, str(request.worker), told)
    try:
        _check_cancelled(request, context)
    except Cancelled:
        context.store.delete_fields(wanted.scores_key)
        raise


def _check_cancelled(request: TrainRequest, context: Context) -> None:
    check_cancelled(context.store, state_key=request.state_key, progress_key=request.progress_key)


def _schedule(request: TrainRequest, samples: Samples) -> Schedule:
    return Schedule(len(samples.x), request.batch_size, request.network.seed, request.client)


def _load_initial(
    request: TrainRequest, context: Context, trainer: Trainer, samples: Samples
) -> tuple[Tensors, Precision]:
    """Start from the request's state, and return it, with what its steps compute in.

    Whoever is first makes it from the seed, and chooses the precision that was left open.
    Everybody, the first included, then reads what was published: all start alike even where two
    runtimes would draw different weights from one seed, or two trials come out in different ways.
    """
    precision = request.network.precision
    if request.initialise and context.store.open(request.state_key) is None:
        made = {name: np.array(tensor) for name, tensor in trainer.state().items()}
        metadata = {}
        if precision is None:
            batch = slice(0, request.batch_size)
            metadata[PRECISION] = faster_precision(trainer, samples.x[batch], samples.y[batch])
        context.store.put_if_absent(request.state_key, encode(_shared(request, made), metadata))
    state = read_tensors(context.store, request.state_key)
    if precision is None:
        said = read_header(context.store.existing(request.state_key)).metadata.get(PRECISION)
        precision = "bfloat16" if said == "bfloat16" else "float32"
    if request.optimizer_key is not None:
        state |= read_tensors(context.store, request.optimizer_key)
    trainer.load_state(state)
    return state, precision


def _shared(request: TrainRequest, state: Tensors) -> Tensors:
    """What of a state goes into the average."""
    return state if request.optimizer_state == "average" else split_state(state)[0]


def _store_update(
    request: TrainRequest, context: Context, state: Tensors, metadata: Mapping[str, str]
) -> None:
    if request.new_optimizer_key is not None:
        context.store.put_stream(request.new_optimizer_key, encoded(split_state(state)[1]))
    context.store.put_stream(request.update_key, encoded(_shared(request, state), metadata))


def _train_steps(
    request: TrainRequest, context: Context, trainer: Trainer, samples: Samples, watch: _Watch
) -> Taken:
    schedule = _schedule(request, samples)

    def factors(start: int, stop: int) -> Factors:
        return rate_factors(
            request.rate_schedule, start, stop, request.total_steps, clients=request.clients
        )

    return take_steps(
        request.start_step,
        request.stop_step,
        context=context,
        trainer=trainer,
        samples=samples,
        schedule=schedule,
        pace=Pace(
            micro_batches=request.micro_batches,
            block_steps=request.block_steps,
            heed_memory=request.heed_memory,
        ),
        factors=factors,
        where=f"round {request.round} on worker {request.worker}",
        before_block=lambda: _check_cancelled(request, context),
        after_block=lambda step, loss: watch.step(step, loss, schedule),
    )


def _infinite(state: Tensors) -> dict[str, NDArray[np.bool_]]:
    """Where tensors that training starts from hold no finite number, as masks of attention do."""
    return {name: ~np.isfinite(tensor) for name, tensor in state.items() if _has_infinity(tensor)}


def _has_infinity(tensor: Array) -> bool:
    return tensor.dtype.kind == "f" and not np.isfinite(tensor).all()


def _check_finite(
    request: TrainRequest, state: Tensors, before: Mapping[str, NDArray[np.bool_]]
) -> None:
    """The last step may have broken what its own loss does not show yet."""
    for name, tensor in state.items():
        if _has_infinity(tensor) and (~np.isfinite(tensor) & ~before.get(name, np.False_)).any():
            raise TrainingDiverged(
                f"{name} is no longer finite at the end of round {request.round} on worker "
                f"{request.worker}"
            )


@dataclass(slots=True)
class _Watch:
    """Tells the live view where this worker is, a few times a second."""

    request: TrainRequest
    context: Context
    throttle: Throttle

    def __init__(self, request: TrainRequest, context: Context) -> None:
        self.request = request
        self.context = context
        self.throttle = Throttle(PROGRESS_INTERVAL_S)

    def say(self, state: str, **fields: object) -> None:
        shown = {
            "state": state,
            "client": self.request.client,
            "round": self.request.round,
            "first_step": self.request.start_step,
            "last_step": self.request.stop_step,
            **fields,
        }
        self.context.report(self.request.progress_key, ProgressEntry(self.request.worker, shown))

    def step(self, step: int, loss: float, schedule: Schedule) -> None:
        if self.throttle.due():
            epoch = (step - 1) // schedule.steps_per_epoch + 1
            self.say("training", step=step, epoch=epoch, loss=loss)
