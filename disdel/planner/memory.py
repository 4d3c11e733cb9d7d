"""Memory of an action by part, without margin: pure arithmetic on sizes, all in bytes.

Covers train, evaluate and collectWeights actions of one runtime; sizes come from the model and the
data set, constants from the runtime. Sizes are those of float32, but for a training step of mixed
precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from disdel.types import (
    CallMemory,
    DatasetSpec,
    Estimate,
    Held,
    ModelFacts,
    Precision,
    RuntimeCosts,
)
from disdel.types.units import MIB

FLOAT_BYTES = 4
_LABEL_BYTES = 4

STATE_COPIES = 3
# A sum of updates, 64 bits an element, in copies of the weights.
SUM_COPIES = 2

# collectWeights: Python, numpy, the Redis client and the proxy.
BASE_FLOOR_MB = 56

# Around one layer at a time, and when scoring around no other, its input, its gradient and a
# convolution's unfolded input come in a train action to this many times the largest output.
_LARGEST_COPIES = 3

# Of what a step takes for a sample, this is left in mixed precision: about half where all of it is
# bfloat16, but batch normalisation computes in float32. `experiments/precision`.
_MIXED_SHARE = 0.8
# And the weights once more, in two bytes each.
_MIXED_WEIGHT_COPIES = 0.5

# Large enough to keep the cores busy, small enough that activations stay below a training step's.
_SCORE_BATCH = 128

# The block of batches that one graph call takes, in bytes as stored and again inside the graph.
BLOCK_STEPS = 32
_BLOCK_COPIES = 2

_MARGIN_SHARE = 0.05
_MARGIN_BYTES = 24 * MIB
# collectWeights is numpy alone, and its blocks are of known size.
_COLLECT_MARGIN_BYTES = 8 * MIB

_COLLECT_BLOCK_BYTES = 2 * MIB
_CHUNK_BYTES = 1 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one train action does, for an estimate of its memory.

    Attributes:
        dataset: shapes and dtype of the samples.
        model: sizes of the network.
        label: the network by name and shapes.
        shard_samples: the largest training shard, in samples.
        test_samples: the largest slice of the test split, in samples.
        validation_samples: likewise of the validation split; 0 where nothing is decided.
        batch_size: samples of a training step.
        epochs: passes over the shard.
        held: what the runtime's train actions hold.
        micro_batches: parts that a batch is cut into, to hold less of it at once.
        precision: what a training step computes in; None where a trial chooses, and either fits.
        term_copies: copies of the weights that what a strategy adds to the gradients takes.
        calls: of a compiled network, what the compiler says of it; None where that is not known.
        loads: whether code of the user's own loads the samples.
    """

    dataset: DatasetSpec
    model: ModelFacts
    label: str
    shard_samples: int
    test_samples: int
    batch_size: int
    epochs: int
    held: Held
    micro_batches: int = 1
    precision: Precision | None = "float32"
    term_copies: int = 0
    calls: CallMemory | None = None
    validation_samples: int = 0
    loads: bool = False

    @property
    def held_samples(self) -> int:
        """Samples in memory at most: a container keeps the two slices that it used last."""
        slices = (self.shard_samples, self.validation_samples, self.test_samples)
        return sum(slices) - min(slices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """An estimate without margin and framework, in bytes."""

    data: int
    model: int
    step: int

    @property
    def total(self) -> int:
        return self.data + self.model + self.step


def sample_bytes(dataset: DatasetSpec) -> int:
    """Bytes of one stored sample with its labels."""
    sample = math.prod(dataset.input_shape) * np.dtype(dataset.input_dtype).itemsize
    return sample + dataset.target.elements * _LABEL_BYTES


def score_batch(micro_batches: int) -> int:
    """Samples scored at once by an action whose batches are cut into `micro_batches` parts."""
    return max(1, _SCORE_BATCH // micro_batches)


def state_bytes(model: ModelFacts) -> int:
    """Bytes of a stored state: weights and the optimizer's state."""
    return (model.parameters * STATE_COPIES + model.constants) * FLOAT_BYTES


def layer_bytes(model: ModelFacts) -> int:
    """Bytes that the largest layer takes for one sample, beside what is kept of the others."""
    return model.largest * _LARGEST_COPIES * FLOAT_BYTES


def graph_bytes(model: ModelFacts, held: Held) -> int:
    """Bytes of the graph that the framework traces."""
    return model.layers * int(held.layer_mb * MIB)


def weight_bytes(work: Work, copies: int) -> int:
    """Bytes of so many copies of the weights, and of those that a step of mixed precision makes."""
    mixed = _MIXED_WEIGHT_COPIES if work.precision != "float32" else 0.0
    # Constants have no gradients and no moments, neither in the optimizer nor in states.
    floats = work.model.parameters * (copies + mixed)
    floats += work.model.constants * (copies / STATE_COPIES + mixed)
    return int(floats * FLOAT_BYTES)


def step_bytes(work: Work) -> int:
    """The larger of what a training step and a scored batch take beside the weights."""
    sample = sample_bytes(work.dataset)
    model = work.model
    block_steps = max(1, BLOCK_STEPS // work.micro_batches)
    block_bytes = work.batch_size * sample * block_steps * _BLOCK_COPIES
    if work.calls is not None:
        return max(work.calls.train_bytes + block_bytes, work.calls.score_bytes)
    at_once = math.ceil(work.batch_size / work.micro_batches)
    kept = max(model.activations, math.ceil(work.held.outputs * model.outputs))
    a_sample = kept * FLOAT_BYTES + layer_bytes(model)
    if work.precision == "bfloat16":
        a_sample = math.ceil(a_sample * _MIXED_SHARE)
    training = at_once * a_sample + block_bytes
    scored = min(score_batch(work.micro_batches), max(work.test_samples, work.validation_samples))
    return max(training, scored * layer_bytes(model))


def train_parts(work: Work) -> Parts:
    """Memory of a train action that holds a shard of each split, beyond the framework's."""
    # A compiled step is no graph.
    graph = graph_bytes(work.model, work.held) if work.calls is None else 0
    return Parts(
        data=work.held_samples * sample_bytes(work.dataset),
        model=weight_bytes(work, work.held.weight_copies + work.term_copies),
        step=step_bytes(work) + graph,
    )


def estimate_evaluate(
    runtime: RuntimeCosts,
    dataset: DatasetSpec,
    model: ModelFacts,
    *,
    model_bytes: int,
    samples: int,
    batch_size: int,
) -> Estimate:
    """Memory of an evaluate action that streams `samples` through a model file of `model_bytes`.

    Samples are read batch by batch, so of a shard only its outputs and a chunk on its way to
    the store are held.
    """
    outputs = samples * dataset.outputs * FLOAT_BYTES
    sample_floats = math.prod(dataset.input_shape) * FLOAT_BYTES
    held = runtime.held_to_evaluate
    largest = held.largest_copies * model.largest * FLOAT_BYTES
    batch = batch_size * (sample_bytes(dataset) + sample_floats + largest)
    return _with_margin(
        framework=math.ceil(runtime.floor_mb * MIB),
        data=outputs + min(outputs, _CHUNK_BYTES),
        model=held.file_copies * model_bytes,
        step=max(batch, held.loading_copies * model_bytes) + graph_bytes(model, runtime.held),
    )


def estimate_collect(parts: int) -> Estimate:
    """Memory of collectWeights: a few blocks, and one more a part, whatever the model."""
    blocks = (parts + 6) * _COLLECT_BLOCK_BYTES + 2 * _CHUNK_BYTES
    return _with_margin(
        framework=BASE_FLOOR_MB * MIB,
        data=0,
        model=blocks,
        step=0,
        margin_bytes=_COLLECT_MARGIN_BYTES,
    )


def _with_margin(
    *, framework: int, data: int, model: int, step: int, margin_bytes: int = _MARGIN_BYTES
) -> Estimate:
    margin = math.ceil(_MARGIN_SHARE * (framework + data + model + step)) + margin_bytes
    return Estimate(framework=framework, data=data, model=model, step=step, margin=margin)
