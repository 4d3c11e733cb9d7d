"""Memory of an action, predicted by part.

Covers train, evaluate and collectWeights actions of one runtime; sizes come from the model and the
data set, constants from `runtimes`. All sizes are for float32 training.
"""

from __future__ import annotations

import math

import numpy as np

from disdel.scheduler.runtimes import BASE_FLOOR_MB, Runtime
from disdel.types import DatasetSpec, Estimate, ModelFacts
from disdel.units import MIB

_FLOAT_BYTES = 4
_LABEL_BYTES = 4

# Copies of the weights alive at once: the variables, their gradients, and the optimizer's two slots
# (Adam's), then all but the gradients again as arrays and once more as the blob on its way to the
# store. The file of the trained model fits in what the gradients leave.
_WEIGHT_COPIES = 4 + 3 + 3

# A layer's output is kept for the backward pass, its gradient is made beside it, and a convolution
# unfolds its input: measured, the three come to this many times the outputs.
_ACTIVATION_COPIES = 4.0

# The block of batches that one graph call takes, in bytes as stored and again inside the graph.
_BLOCK_STEPS = 32
_BLOCK_COPIES = 2

_MARGIN_SHARE = 0.05
_MARGIN_MB = 24
# collectWeights is numpy alone, and its blocks are of known size.
_COLLECT_MARGIN_MB = 8

_COLLECT_BLOCK_BYTES = 2 * MIB
_COLLECT_CHUNK_BYTES = 16 * MIB


def sample_bytes(dataset: DatasetSpec) -> int:
    """Bytes of one stored sample with its label."""
    return math.prod(dataset.input_shape) * np.dtype(dataset.input_dtype).itemsize + _LABEL_BYTES


def estimate_train(
    runtime: Runtime,
    dataset: DatasetSpec,
    model: ModelFacts,
    *,
    shard_samples: int,
    test_samples: int,
    batch_size: int,
) -> Estimate:
    """Memory of a train action that holds a shard of each split.

    Args:
        runtime: the runtime of the action.
        dataset: shapes and dtype of the samples.
        model: sizes of the network.
        shard_samples: the largest training shard, in samples.
        test_samples: the largest slice of the held-out split, in samples.
        batch_size: samples of a training step.
    """
    batch_bytes = batch_size * sample_bytes(dataset)
    activation_bytes = batch_size * model.activations * _FLOAT_BYTES * _ACTIVATION_COPIES
    return _with_margin(
        pkg=runtime.floor_mb,
        dta=(shard_samples + test_samples) * sample_bytes(dataset) / MIB,
        mod=model.parameters * _FLOAT_BYTES * _WEIGHT_COPIES / MIB,
        fit=(activation_bytes + batch_bytes * _BLOCK_STEPS * _BLOCK_COPIES) / MIB,
    )


def estimate_evaluate(
    runtime: Runtime, dataset: DatasetSpec, *, model_bytes: int, samples: int, batch_size: int
) -> Estimate:
    """Memory of an evaluate action that runs a model file of `model_bytes` over `samples`."""
    sample_floats = math.prod(dataset.input_shape) + dataset.classes
    return _with_margin(
        pkg=runtime.floor_mb,
        dta=samples * sample_bytes(dataset) / MIB,
        mod=3 * model_bytes / MIB,
        fit=(samples * dataset.classes + batch_size * sample_floats * 64) * _FLOAT_BYTES / MIB,
    )


def estimate_collect(workers: int) -> Estimate:
    """Memory of collectWeights: a few blocks, and one more a worker, whatever the model."""
    blocks = (workers + 6) * _COLLECT_BLOCK_BYTES + 2 * _COLLECT_CHUNK_BYTES
    return _with_margin(
        pkg=BASE_FLOOR_MB, dta=0, mod=blocks / MIB, fit=0, margin_mb=_COLLECT_MARGIN_MB
    )


def _with_margin(
    *, pkg: float, dta: float, mod: float, fit: float, margin_mb: float = _MARGIN_MB
) -> Estimate:
    margin = _MARGIN_SHARE * (pkg + dta + mod + fit) + margin_mb
    return Estimate(pkg=pkg, dta=dta, mod=mod, fit=fit, saf=margin)
