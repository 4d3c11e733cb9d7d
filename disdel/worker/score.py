"""Scoring: a state on a slice of a held-out split."""

from __future__ import annotations

import math
from dataclasses import asdict

from disdel.errors import TrainingDiverged
from disdel.protocol.messages import ScoreReply, ScoreRequest, SliceScore
from disdel.runtimes.base import Trainer, sum_of
from disdel.store.codec import read_tensors
from disdel.worker.cancellation import check_cancelled
from disdel.worker.context import Context, ProgressEntry
from disdel.worker.model_file import store_model
from disdel.worker.network import TrainerCache
from disdel.worker.shards import Samples, ShardCache


def score_slice(
    request: ScoreRequest, context: Context, trainers: TrainerCache, shards: ShardCache
) -> ScoreReply:
    """Score the state of a round on this worker's slice of a held-out split.

    Raises:
        StoreError: the state or the slice cannot be read.
        TrainingDiverged: the loss is infinite or not a number.
        Cancelled: the state has been removed meanwhile.
    """
    progress = {"state": "scoring", "round": request.round}
    context.report(request.progress_key, ProgressEntry(request.worker, progress))
    clock = context.clock
    samples = shards.get(request.shard_key, context, "score")
    clock.ended("data")
    trainer = trainers.get(request.network, samples.x)
    clock.ended("built")
    trainer.load_state(read_tensors(context.store, request.state_key))
    clock.ended("loaded")
    scored = scored_average(
        trainer, samples, request.batch_size, number=request.round, worker=request.worker
    )
    clock.ended("computed")
    check_cancelled(context.store, state_key=request.state_key, progress_key=request.progress_key)
    if request.model_key is not None:
        store_model(trainer, context.store, request.model_key)
        clock.ended("stored")
    context.report(
        request.progress_key, ProgressEntry(request.worker, {**progress, "state": "done"})
    )
    return ScoreReply(
        **asdict(scored),
        peak_mb=context.peak_mb(),
        working_set_mb=context.working_set_mb(),
        phases=clock.phases(),
    )


def scored_average(
    trainer: Trainer, samples: Samples, batch_size: int, *, number: int, worker: int
) -> SliceScore:
    """What the state of a trainer, the average of round `number`, comes to on a worker's slice.

    Raises:
        TrainingDiverged: the loss is infinite or not a number.
    """
    starts = range(0, len(samples.x), batch_size)
    batches = (slice(start, start + batch_size) for start in starts)
    scored = sum_of(trainer.score(samples.x[batch], samples.y[batch]) for batch in batches)
    if not math.isfinite(scored.loss_sum):
        raise TrainingDiverged(
            f"the average of round {number} has a loss of {scored.loss_sum} on the held-out "
            f"samples of worker {worker}"
        )
    return SliceScore(
        samples=len(samples.x),
        loss_sum=scored.loss_sum,
        correct=scored.correct,
        metric_sums=dict(scored.metric_sums),
        labels=scored.labels,
    )
