"""The average of a round: a pure function of the updates and their weights.

Federated averaging (McMahan et al., 2017, https://arxiv.org/abs/1602.05629, algorithm 1): the
weighted mean of the clients' tensors, weighted by the samples that each has seen, or equally.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from disdel.errors import AggregationError
from disdel.types.arrays import Array, Numbers


def weighted_mean(updates: Sequence[Array], weights: Sequence[float]) -> Array:
    """The mean of `updates`, weighted by `weights`, element by element.

    Floating-point updates are accumulated in float64 in the order given and rounded once, so the
    result does not depend on who finished first, and the mean of equal updates is that update.
    Integer and boolean updates are counters and flags, not weights: their element-wise maximum is
    taken.

    Args:
        updates: arrays of one dtype and shape, at least one.
        weights: one positive number an update.

    Returns:
        An array of the updates' dtype and shape.

    Raises:
        AggregationError: no updates, unequal dtypes or shapes, or a weight that is not positive.
    """
    if not updates or len(updates) != len(weights):
        raise AggregationError(
            f"{len(updates)} updates cannot be averaged with {len(weights)} weights"
        )
    if not all(0 < weight < math.inf for weight in weights):
        raise AggregationError(f"weights must be positive, not {list(weights)}")
    first = updates[0]
    for update in updates[1:]:
        if update.dtype != first.dtype or update.shape != first.shape:
            raise AggregationError(
                f"updates differ: {first.dtype}{list(first.shape)} and "
                f"{update.dtype}{list(update.shape)}"
            )
    if first.dtype.kind != "f":
        return np.asarray(np.maximum.reduce(updates))
    total = float(sum(weights))
    mean = np.zeros(first.shape, np.float64)
    scratch = np.empty(first.shape, np.float64)
    for update, weight in zip(updates, weights, strict=True):
        np.multiply(update, weight / total, out=scratch, dtype=np.float64)
        mean += scratch
    return mean.astype(first.dtype)


def median_of(values: Numbers) -> Numbers:
    """The median over the first axis of numbers, (n, …).

    `np.median` imports a part of numpy that a compiled action's has not.
    """
    ordered, half = np.sort(values, axis=0), len(values) // 2
    middle: Numbers = ordered[half - 1] + ordered[half]
    return np.asarray(ordered[half]) if len(values) % 2 else middle / 2
