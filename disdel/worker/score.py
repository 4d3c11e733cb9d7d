"""Scoring: a state on a slice of the held-out split, and a model file on any samples."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from disdel.store.codec import encode, read_tensors
from disdel.wire import EvaluateReply, EvaluateRequest, ScoreReply, ScoreRequest
from disdel.worker.context import Context, Progress
from disdel.worker.model_file import load_model
from disdel.worker.network import TrainerCache
from disdel.worker.shards import Samples, ShardCache

# Of a model file: keeps the cores busy, and its activations below a training step's.
SCORE_BATCH = 128


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
    assert samples.y is not None
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
            path = Path(folder) / f"model{trainer.model_suffix}"
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


def evaluate(request: EvaluateRequest, context: Context) -> EvaluateReply:
    """Run a model file over samples and store its class probabilities.

    Raises:
        UsageError: the file is no model, or does not take such samples.
    """
    clock = context.clock
    predict = load_model(context.store.get(request.model_key), request.threads)
    clock.ended("imported")
    context.wait_for(request.input_key)
    tensors = read_tensors(context.store, request.input_key)
    samples = Samples(tensors["x"], tensors.get("y"))
    clock.ended("data")
    probabilities = np.concatenate(
        [
            predict(samples.x[start : start + SCORE_BATCH])
            for start in range(0, len(samples.x), SCORE_BATCH)
        ]
    )
    clock.ended("computed")
    context.store.put(request.output_key, encode({"probabilities": probabilities}))
    clock.ended("stored")
    loss_sum, correct = None, None
    if samples.y is not None:
        chosen = probabilities[np.arange(len(samples.y)), samples.y]
        loss_sum = float(-np.log(np.maximum(chosen, 1e-7), dtype=np.float64).sum())
        correct = int((probabilities.argmax(axis=1) == samples.y).sum())
    return EvaluateReply(
        samples=len(samples.x),
        loss_sum=loss_sum,
        correct=correct,
        peak_mb=context.peak_mb(),
        working_set_mb=context.working_set_mb(),
        phases=clock.phases(),
    )
