"""Memory of an action by part, without margin: pure arithmetic on sizes, all in bytes.

Covers train, evaluate and collectWeights actions of one runtime; sizes come from the model and the
data set, constants from `runtimes`. All sizes are for float32 training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from disdel.scheduler.runtimes import BASE_FLOOR_MB, Runtime
from disdel.types import DatasetSpec, Estimate, ModelFacts
from disdel.units import MIB

_FLOAT_BYTES = 4
_LABEL_BYTES = 4

# Copies of the weights alive at once: the variables, their gradients, and the optimizer's two slots
# (Adam's), then all but the gradients again as arrays and once more as the blob on its way to the
# store. The file of the trained model fits in what the gradients leave. Loading and storing a state
# every round leaves holes that are not given back: another twelve, reached by the fourth round.
_WEIGHT_COPIES = 4 + 3 + 3 + 12
STATE_COPIES = 3

# A layer's output is kept for the backward pass, its gradient is made beside it, and a convolution
# unfolds its input: measured, the three come to this many times the outputs. Scoring takes larger
# batches and keeps less of each.
_TRAIN_ACTIVATION_COPIES = 3.0
_SCORE_ACTIVATION_COPIES = 2.0
_SCORE_BATCH = 128

# The block of batches that one graph call takes, in bytes as stored and again inside the graph.
_BLOCK_STEPS = 32
_BLOCK_COPIES = 2

_MARGIN_SHARE = 0.05
_MARGIN_BYTES = 24 * MIB
# collectWeights is numpy alone, and its blocks are of known size.
_COLLECT_MARGIN_BYTES = 8 * MIB

_COLLECT_BLOCK_BYTES = 2 * MIB
_CHUNK_BYTES = 16 * MIB

# Of an evaluate action, in copies of the model's file: what the loaded model keeps, and what
# reading the file takes on top before the first batch. A batch's outputs are freed as it passes.
_MODEL_COPIES = 4
_LOADING_COPIES = 3
_EVALUATE_ACTIVATION_COPIES = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one train action does, for an estimate of its memory.

    Attributes:
        dataset: shapes and dtype of the samples.
        model: sizes of the network.
        label: the network by name and shapes.
        shard_samples: the largest training shard, in samples.
        test_samples: the largest slice of the held-out split, in samples.
        batch_size: samples of a training step.
        epochs: passes over the shard.
    """

    dataset: DatasetSpec
    model: ModelFacts
    label: str
    shard_samples: int
    test_samples: int
    batch_size: int
    epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """An estimate without margin and framework, in bytes."""

    dta: int
    mod: int
    fit: int

    @property
    def total(self) -> int:
        return self.dta + self.mod + self.fit


def sample_bytes(dataset: DatasetSpec) -> int:
    """Bytes of one stored sample with its label."""
    return math.prod(dataset.input_shape) * np.dtype(dataset.input_dtype).itemsize + _LABEL_BYTES


def state_bytes(model: ModelFacts) -> int:
    """Bytes of a stored state: weights and the optimizer's slots."""
    return model.parameters * _FLOAT_BYTES * STATE_COPIES


def train_parts(work: Work) -> Parts:
    """Memory of a train action that holds a shard of each split, beyond the framework's."""
    sample = sample_bytes(work.dataset)
    outputs = work.model.activations * _FLOAT_BYTES
    block_bytes = work.batch_size * sample * _BLOCK_STEPS * _BLOCK_COPIES
    training = work.batch_size * outputs * _TRAIN_ACTIVATION_COPIES + block_bytes
    scoring = min(_SCORE_BATCH, work.test_samples) * outputs * _SCORE_ACTIVATION_COPIES
    return Parts(
        dta=(work.shard_samples + work.test_samples) * sample,
        mod=work.model.parameters * _FLOAT_BYTES * _WEIGHT_COPIES,
        fit=math.ceil(max(training, scoring)),
    )


def estimate_evaluate(
    runtime: Runtime,
    dataset: DatasetSpec,
    model: ModelFacts,
    *,
    model_bytes: int,
    samples: int,
    batch_size: int,
) -> Estimate:
    """Memory of an evaluate action that streams `samples` through a model file of `model_bytes`.

    Samples are read batch by batch, so of a shard only its probabilities and a chunk on its way to
    the store are held.
    """
    probabilities = samples * dataset.classes * _FLOAT_BYTES
    sample_floats = math.prod(dataset.input_shape) * _FLOAT_BYTES
    outputs = model.activations * _FLOAT_BYTES * _EVALUATE_ACTIVATION_COPIES
    batch = batch_size * (sample_bytes(dataset) + sample_floats + outputs)
    return _with_margin(
        pkg=math.ceil(runtime.floor_mb * MIB),
        dta=probabilities + min(probabilities, _CHUNK_BYTES),
        mod=_MODEL_COPIES * model_bytes,
        fit=math.ceil(max(batch, _LOADING_COPIES * model_bytes)),
    )


def estimate_collect(workers: int) -> Estimate:
    """Memory of collectWeights: a few blocks, and one more a worker, whatever the model."""
    blocks = (workers + 6) * _COLLECT_BLOCK_BYTES + 2 * _CHUNK_BYTES
    return _with_margin(
        pkg=BASE_FLOOR_MB * MIB, dta=0, mod=blocks, fit=0, margin_bytes=_COLLECT_MARGIN_BYTES
    )


def _with_margin(
    *, pkg: int, dta: int, mod: int, fit: int, margin_bytes: int = _MARGIN_BYTES
) -> Estimate:
    margin = math.ceil(_MARGIN_SHARE * (pkg + dta + mod + fit)) + margin_bytes
    return Estimate(pkg=pkg, dta=dta, mod=mod, fit=fit, saf=margin)
