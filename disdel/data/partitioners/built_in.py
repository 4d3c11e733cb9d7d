"""The partitioners that disdel has."""

from __future__ import annotations

import numpy as np

from disdel.data.partitioners.registry import Asked, partitioner
from disdel.types.assignment import Assignment, Positions, equal_counts


@partitioner("iid")
def iid(asked: Asked) -> Assignment:
    """Ranges of one shuffle, whose sizes differ by at most one."""
    return Assignment.of_ranges(
        equal_counts(asked.samples, asked.clients), lambda: shuffled(asked.samples, asked.seed)
    )


def shuffled(samples: int, seed: int) -> Positions:
    """A permutation of `samples` positions that `seed` decides, (samples,) int64.

    Data sets often come sorted by class; without this a client could see a single class.
    """
    return np.random.default_rng((seed, samples)).permutation(samples)
