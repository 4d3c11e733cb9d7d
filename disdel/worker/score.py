"""Scoring: a state on a slice of the held-out split."""

from __future__ import annotations

import tempfile
from pathlib import Path

from disdel.store.codec import read_tensors
from disdel.wire import ScoreReply, ScoreRequest
from disdel.worker.context import Context, Progress
from disdel.worker.network import TrainerCache
from disdel.worker.shards import ShardCache


def score_slice(
    request: ScoreRequest, context: Context, trainers: TrainerCache, shards: ShardCache
) -> ScoreReply:
    """Score the state of a round on this worker's slice of the held-out split.

    Raises:
        StoreError: the state or the slice cannot be read.
    """
    progress = {"state": "scoring", "round": request.round}
    context.report(request.progress_key, Progress(request.worker, progress))
    clock = context.clock
    samples = shards.get(request.shard_key, context)
    clock.ended("data")
    trainer = trainers.get(request.network, samples.x.dtype.name)
    clock.ended("built")
    trainer.load_state(read_tensors(context.store, request.state_key))
    clock.ended("loaded")
    loss_sum, correct = 0.0, 0
    for start in range(0, len(samples.x), request.batch_size):
        batch = slice(start, start + request.batch_size)
        loss, hits = trainer.score(samples.x[batch], samples.y[batch])
        loss_sum += loss
        correct += hits
    clock.ended("computed")
    if request.model_key is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            trainer.save_model(path)
            context.store.put(request.model_key, path.read_bytes())
        clock.ended("stored")
    context.report(request.progress_key, Progress(request.worker, {**progress, "state": "done"}))
    return ScoreReply(
        samples=len(samples.x),
        loss_sum=loss_sum,
        correct=correct,
        peak_mb=context.peak_mb(),
        working_set_mb=context.working_set_mb(),
        phases=clock.phases(),
    )
