"""Samples on their way to the actions: each shard is one blob, and only its worker reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from disdel.arrays import Array
from disdel.catalog.datasets import DatasetArrays
from disdel.scheduler.partition import shuffled
from disdel.store.base import Store
from disdel.store.codec import encode, encoded_pieces
from disdel.store.keys import RunKeys
from disdel.types import Plan, Shard


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
    for old in staged - wanted:
        store.delete(old)
    staged &= wanted
    for shard in plan.shards:
        key = keys.shard("train", shard)
        if key in staged:
            continue
        # Sorted, so that a memory-mapped file is read forwards; a worker shuffles every epoch.
        positions = np.sort(order[shard.start : shard.stop])
        store.put(key, _encoded(arrays.train_x[positions], arrays.train_y[positions]))
    for shard, x, y in _slices(plan.test_shards, arrays):
        if keys.shard("test", shard) not in staged:
            store.put(keys.shard("test", shard), _encoded(x, y))
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
        store.put_stream(keys.input(shard.worker), encoded_pieces("x", x[shard.start : shard.stop]))


def _slices(
    shards: tuple[Shard, ...], arrays: DatasetArrays
) -> Iterator[tuple[Shard, Array, Array]]:
    for shard in shards:
        part = slice(shard.start, shard.stop)
        yield shard, arrays.test_x[part], arrays.test_y[part]


def _encoded(x: Array, y: Array) -> bytes:
    """The blob of a shard: `x` as stored, and `y` as int32, or float32 for numbers to predict."""
    return encode(
        {"x": np.asarray(x), "y": np.asarray(y, np.float32 if y.dtype.kind == "f" else np.int32)}
    )
