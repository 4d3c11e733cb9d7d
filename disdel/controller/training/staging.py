"""Samples on their way to the actions: each shard is a blob, which one worker reads."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from disdel.controller.training.splits import JobSamples, SplitSamples
from disdel.protocol.keys import RunKeys
from disdel.store.base import Store
from disdel.store.codec import encoded_rows
from disdel.types import Plan, Slice, Split
from disdel.types.arrays import Array
from disdel.types.assignment import Assignment

# In the order in which workers need them.
_SCORED: tuple[Split, ...] = ("validation", "test")


def shard_keys(keys: RunKeys, plan: Plan, assignment: Assignment) -> set[str]:
    """The keys of all shards: what each client owns, and the slices that are scored."""
    train = {keys.shard("train", name) for name in assignment.names}
    scored = {keys.shard(s, part.name) for s in _SCORED for part in plan.slices(s)}
    return train | scored


def stage(
    store: Store,
    keys: RunKeys,
    plan: Plan,
    assignment: Assignment,
    samples: JobSamples,
    staged: set[str],
) -> None:
    """Write every shard of all splits, in the order in which workers need them.

    Samples are read and written in blocks, so that the host holds few of them at once. Shards that
    are `staged` already stay where they are wanted too, and are deleted where not; afterwards it
    names those there.

    Raises:
        StoreError: Redis failed, for example for lack of memory.
    """
    wanted = shard_keys(keys, plan, assignment)
    for old in staged - wanted:
        store.delete(old)
    staged &= wanted
    if not staged.issuperset(keys.shard("train", name) for name in assignment.names):
        _stage_split(store, keys, "train", samples.splits["train"], assignment.shards(), staged)
    stage_scored(store, keys, plan, samples, staged)


def stage_scored(
    store: Store, keys: RunKeys, plan: Plan, samples: JobSamples, staged: set[str]
) -> None:
    """Write the slices that are scored and not `staged`, and add their keys.

    Raises:
        StoreError: Redis failed.
    """
    for split in _SCORED:
        slices = [(part.name, slice(part.start, part.stop)) for part in plan.slices(split)]
        if slices:
            _stage_split(store, keys, split, samples.splits[split], slices, staged)


def _stage_split(
    store: Store,
    keys: RunKeys,
    split: Split,
    held: SplitSamples,
    shards: Iterable[tuple[str, slice | Array]],
    staged: set[str],
) -> None:
    """Write the shards of a split, by name and rows, that are not `staged`, and add their keys."""
    tensors = {"x": held.x, "y": targets(held.y)}
    for name, rows in shards:
        key = keys.shard(split, name)
        if key not in staged:
            store.put_stream(key, encoded_rows(tensors, held.rows(rows)))
            staged.add(key)
    let_go(held.x)


def stage_inputs(
    store: Store, keys: RunKeys, slices: Sequence[Slice], model: Path, x: Array
) -> None:
    """Write what evaluate actions read: the model file, and each one's part of `x`, in its order.

    Args:
        store: where to.
        keys: the run's.
        slices: one an action.
        model: the file.
        x: (samples, *input_shape) as stored.

    Raises:
        StoreError: Redis failed, for example for lack of memory.
    """
    store.put(keys.model, model.read_bytes())
    for part in slices:
        rows = slice(part.start, part.stop)
        store.put_stream(keys.input(part.worker), encoded_rows({"x": x}, rows))
    let_go(x)


def targets(y: Array) -> Array:
    """As the workers take them, in the same shape: int32 classes, or float32 numbers to predict."""
    return np.asarray(y, np.float32 if y.dtype.kind == "f" else np.int32)


def let_go(*arrays: Array) -> None:
    """Drop the pages of mapped files from this process, which would count as its memory."""
    for array in arrays:
        base: object = array.base
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)
