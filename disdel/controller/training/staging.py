"""Samples on their way to the actions: each shard is one blob, and only its worker reads it."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from disdel.controller.training.splits import JobSamples
from disdel.planner.partition import shuffled
from disdel.protocol.keys import RunKeys
from disdel.store.base import Store
from disdel.store.codec import encoded_rows
from disdel.types import Plan, Shard, Split
from disdel.types.arrays import Array

# In the order in which workers need them.
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def shard_keys(keys: RunKeys, plan: Plan) -> set[str]:
    """The keys of all shards of a plan."""
    return {keys.shard(split, shard) for split in _SPLITS for shard in plan.slices(split)}


def stage(
    store: Store,
    keys: RunKeys,
    plan: Plan,
    samples: JobSamples,
    seed: int,
    staged: set[str],
) -> None:
    """Write every shard of all splits, in the order in which workers need them.

    Training samples are dealt in an order shuffled by the seed. Shards that are `staged` already
    stay where the plan has them too, and are deleted where not; afterwards it names those there.

    Raises:
        StoreError: Redis failed, for example for lack of memory.
    """
    order = shuffled(samples.spec.train_samples, seed)
    wanted = shard_keys(keys, plan)
    for old in staged - wanted:
        store.delete(old)
    staged &= wanted
    for split in _SPLITS:
        missing = [shard for shard in plan.slices(split) if keys.shard(split, shard) not in staged]
        if not missing:
            continue
        held = samples.splits[split]
        tensors = {"x": held.x, "y": _targets(held.y)}
        for shard in missing:
            chosen: slice | Array = slice(shard.start, shard.stop)
            if split == "train":
                # Sorted, to read a memory-mapped file forwards; a worker shuffles every epoch.
                chosen = np.sort(order[chosen])
            store.put_stream(keys.shard(split, shard), encoded_rows(tensors, held.rows(chosen)))
        _let_go(held.x)
    staged |= wanted


def stage_inputs(
    store: Store, keys: RunKeys, shards: Sequence[Shard], model: Path, x: Array
) -> None:
    """Write what evaluate actions read: the model file, and each one's part of `x`, in its order.

    Raises:
        StoreError: Redis failed, for example for lack of memory.
    """
    store.put(keys.model, model.read_bytes())
    for shard in shards:
        rows = slice(shard.start, shard.stop)
        store.put_stream(keys.input(shard.worker), encoded_rows({"x": x}, rows))
    _let_go(x)


def _targets(y: Array) -> Array:
    """As the workers take them: classes as int32, numbers to predict as float32."""
    return np.asarray(y, np.float32 if y.dtype.kind == "f" else np.int32)


def _let_go(*arrays: Array) -> None:
    """Drop the pages of mapped files from this process, which would count as its memory."""
    for array in arrays:
        base: object = array.base
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)
