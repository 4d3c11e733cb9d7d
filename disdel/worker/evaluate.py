"""An evaluate activation: a model file over a shard of samples, to what it gives for them.

Samples are read batch by batch, so memory hardly depends on how many there are. Near its time or
memory limit the activation stores what it has and asks to go on.
"""

from __future__ import annotations

import math
import time
from typing import Literal

import numpy as np

from disdel.errors import UsageError
from disdel.protocol.messages import EvaluateReply, EvaluateRequest
from disdel.runtimes.runtime import Predictor
from disdel.store.codec import Rows, encoded_rows, open_rows
from disdel.types.arrays import Array
from disdel.types.phases import STORE_MARGIN_S
from disdel.types.specs import TargetSpec
from disdel.worker.context import Context, ProgressEntry, Throttle
from disdel.worker.model_file import PredictorCache

PROGRESS_INTERVAL_S = 0.25
# Sums of probabilities as they come from half precision.
_SUM_TOLERANCE = 1e-2

Ending = Literal["ok", "continued-time", "continued-memory"]


def evaluate(
    request: EvaluateRequest, context: Context, predictors: PredictorCache
) -> EvaluateReply:
    """Store the model's outputs for the request's samples, or for those that there is time for.

    Raises:
        UsageError: the file is no model, does not take such samples, or gives something else.
        StoreError: model or samples cannot be read, or the result not written.
    """
    _say(request, context, "loading")
    clock = context.clock
    predict = predictors.get(request.model_key, request.runtime, request.threads, context)
    context.wait_for(request.input_key)
    samples = open_rows(context.store, request.input_key, "x")
    # The model as well: it is loaded while the samples are still on their way.
    clock.ended("data")
    outcome, found = _predict(request, context, predict, samples)
    clock.ended("computed")
    context.store.put_stream(request.output_key, encoded_rows(found, slice(None)))
    clock.ended("stored")
    _say(request, context, "done" if outcome == "ok" else outcome)
    return EvaluateReply(
        outcome=outcome,
        next_sample=request.start_sample + len(found["outputs"]),
        peak_mb=context.peak_mb(),
        working_set_mb=context.working_set_mb(),
        phases=clock.phases(),
    )


def _predict(
    request: EvaluateRequest, context: Context, predict: Predictor, samples: Rows
) -> tuple[Ending, dict[str, Array]]:
    """How it ended, and what was found so far, by name.

    `outputs` are (samples, …) float32. `counts` says which labels do, (samples, *label_shape)
    uint8; it is missing where all do.
    """
    throttle = Throttle(PROGRESS_INTERVAL_S)
    total, slowest_s = len(samples), 0.0
    found: dict[str, Array] = {"outputs": np.empty((0, 0), np.float32)}
    reached = request.start_sample
    while reached < total:
        done = {name: rows[: reached - request.start_sample] for name, rows in found.items()}
        # At least one batch an activation, so that every activation brings the run forward.
        if slowest_s and context.remaining_s() < 2 * slowest_s + STORE_MARGIN_S:
            return "continued-time", done
        if slowest_s and request.heed_memory and context.short_of_memory():
            return "continued-memory", done
        began_s = time.perf_counter()
        stop = min(total, reached + request.batch_size)
        batch = predict(samples.read(reached, stop))
        slowest_s = max(slowest_s, time.perf_counter() - began_s)
        # Of numpy's masked arrays alone; their module is not in every action's numpy.
        masked, batch = getattr(batch, "mask", None), np.asarray(batch)
        if not len(done["outputs"]):
            if request.target.kind == "class":
                _check_probabilities(batch, request.target)
            batch = _shaped(batch, request.target)
            found = {"outputs": np.empty((total - reached, *batch.shape[1:]), np.float32)}
        rows = slice(reached - request.start_sample, stop - request.start_sample)
        into = found["outputs"][rows]
        into[...] = batch.reshape(into.shape)
        if masked is not None:
            labels = request.target.shape
            if "counts" not in found:
                found["counts"] = np.ones((len(found["outputs"]), *labels), np.uint8)
            found["counts"][rows] = ~masked.reshape(len(batch), *labels, -1).all(-1)
        reached = stop
        if throttle.due():
            done_steps = math.ceil(reached / request.batch_size)
            steps = math.ceil(total / request.batch_size)
            _say(request, context, "evaluating", step=done_steps, last_step=steps)
    return "ok", found


def _shaped(batch: Array, target: TargetSpec) -> Array:
    """Outputs in the shape of what is predicted; classes may be of another number, as told later.

    Raises:
        UsageError: numbers are of another shape.
    """
    if target.kind == "class":
        return batch
    labels, found = target.shape, batch.shape[1:]
    if found in (target.predicted_shape, (*labels, 1), (1, *labels)):
        return batch.reshape(len(batch), *target.predicted_shape)
    several = f"numbers of shape {labels} for" if labels else "one number"
    raise UsageError(
        f"the model gives outputs of shape {found}, and the data set has {several} a sample; name "
        "a model that was trained on numbers with --model"
    )


def _check_probabilities(batch: Array, target: TargetSpec) -> None:
    """Refuse a model whose outputs are no probabilities.

    Raises:
        UsageError: they are not one distribution a label.
    """
    if batch.shape[1:-1] != target.shape or batch.ndim < 2:
        each = f", and the data set has classes of shape {target.shape}" if target.shape else ""
        raise UsageError(
            f"the model gives outputs of shape {batch.shape[1:]}, not one a class{each}"
        )
    sums = batch.sum(axis=-1, dtype=np.float64)
    if np.less(batch, 0).any() or not np.allclose(sums, 1, atol=_SUM_TOLERANCE):
        raise UsageError(
            "the model's outputs are no probabilities: those of a sample add up to "
            f"{sums.flat[np.abs(sums - 1).argmax()]:g}; give it a softmax as its last layer"
        )


def _say(request: EvaluateRequest, context: Context, state: str, **fields: object) -> None:
    context.report(request.progress_key, ProgressEntry(request.worker, {"state": state, **fields}))
