"""Scoring: a state on a slice of the held-out split, and a model file on any samples."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from disdel.arrays import Array
from disdel.errors import UsageError
from disdel.store.codec import encode, read_tensors
from disdel.training.keras_adapter import pin_threads
from disdel.wire import EvaluateReply, EvaluateRequest, ScoreReply, ScoreRequest
from disdel.worker.context import Context, Progress
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


def evaluate(request: EvaluateRequest, context: Context) -> EvaluateReply:
    """Run a Keras file over samples and store its class probabilities.

    Raises:
        UsageError: the file is no Keras model, or does not take such samples.
    """
    import keras

    clock = context.clock
    clock.ended("imported")
    pin_threads(request.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(context.store.get(request.model_key))
        try:
            model = keras.saving.load_model(path, compile=False)
        except (ValueError, TypeError, OSError) as error:
            raise UsageError(f"the model cannot be loaded: {error}") from error
    context.wait_for(request.input_key)
    tensors = read_tensors(context.store, request.input_key)
    samples = Samples(tensors["x"], tensors.get("y"))
    # The model as well: it is loaded while the samples are still on their way.
    clock.ended("data")
    probabilities = _probabilities(model, samples.x)
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


def _probabilities(model: Any, x: Array) -> Array:
    """Class probabilities, (samples, classes) float32."""
    if model.input_shape[1:] != x.shape[1:]:
        raise UsageError(
            f"the model takes samples of shape {model.input_shape[1:]}, not {x.shape[1:]}"
        )
    parts = [
        np.asarray(model(x[start : start + SCORE_BATCH].astype(np.float32), training=False))
        for start in range(0, len(x), SCORE_BATCH)
    ]
    return np.concatenate(parts).astype(np.float32)
