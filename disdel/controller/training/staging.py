"""Samples on their way to the actions: each shard is one blob, and only its worker reads it."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from disdel.data import DatasetArrays
from disdel.planner.partition import shuffled
from disdel.protocol.keys import RunKeys
from disdel.store.base import Store
from disdel.store.codec import encoded_rows
from disdel.types import Plan, Shard
from disdel.types.arrays import Array


def shard_keys(keys: RunKeys, plan: Plan) -> set[str]:
    """The keys of all shards of a plan."""
    train = {keys.shard("train", shard) for shard in plan.shards}
    return train | {keys.shard("test", shard) for shard in plan.test_shards}


def stage(
    store: Store,
    keys: RunKeys,
    plan: Plan,
    arrays: DatasetArrays,
    seed: int,
    staged: set[str],
) -> None:
    """Write every shard of both splits, in the order in which workers need them.

    Training samples are dealt in an order shuffled by the seed. Shards that are `staged` already
    stay where the plan has them too, and are deleted where not; afterwards it names those there.

    Raises:
        StoreError: Redis failed, for example for lack of memory.
    """
    order = shuffled(len(arrays.train_x), seed)
    wanted = shard_keys(keys, plan)
    train = {"x": arrays.train_x, "y": _targets(arrays.train_y)}
    test = {"x": arrays.test_x, "y": _targets(arrays.test_y)}
    for old in staged - wanted:
        store.delete(old)
    staged &= wanted
    for shard in plan.shards:
        key = keys.shard("train", shard)
        if key in staged:
            continue
        # Sorted, so that a memory-mapped file is read forwards; a worker shuffles every epoch.
        positions = np.sort(order[shard.start : shard.stop])
        store.put_stream(key, encoded_rows(train, positions))
    for shard in plan.test_shards:
        key = keys.shard("test", shard)
        if key not in staged:
            store.put_stream(key, encoded_rows(test, slice(shard.start, shard.stop)))
    staged |= wanted
    _let_go(arrays.train_x, arrays.test_x)


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
