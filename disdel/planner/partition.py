"""Shards: which samples each worker owns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from disdel.types import Shard


def partition(samples: int, workers: int) -> tuple[Shard, ...]:
    """Cut `samples` positions into `workers` runs whose sizes differ by at most one.

    The longer ones come first. Every position is in exactly one shard.
    """
    size, longer = divmod(samples, workers)
    bounds = [worker * size + min(worker, longer) for worker in range(workers + 1)]
    return tuple(
        Shard(worker=worker, start=bounds[worker], stop=bounds[worker + 1])
        for worker in range(workers)
    )


def shuffled(samples: int, seed: int) -> npt.NDArray[np.int64]:
    """The order in which samples are dealt to shards, (samples,) int64: a permutation by `seed`.

    Data sets often come sorted by class; without this a worker could see a single class.
    """
    return np.random.default_rng((seed, samples)).permutation(samples)
