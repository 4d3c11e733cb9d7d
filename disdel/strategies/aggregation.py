"""The average of a round: a pure function of the parts and their weights.

Federated averaging (McMahan et al., 2017, https://arxiv.org/abs/1602.05629, algorithm 1): the
weighted mean of the workers' tensors, weighted by the samples that each has seen, or equally.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from disdel.errors import AggregationError
from disdel.types.arrays import Array


def weighted_mean(parts: Sequence[Array], weights: Sequence[int]) -> Array:
    """The mean of `parts`, weighted by `weights`, element by element.

    Floating-point parts are accumulated in float64 in the order given and rounded once, so the
    result does not depend on who finished first, and the mean of equal parts is that part. Integer
    and boolean parts are counters and flags, not weights: their element-wise maximum is taken.

    Args:
        parts: arrays of one dtype and shape, at least one.
        weights: one positive number a part.

    Returns:
        An array of the parts' dtype and shape.

    Raises:
        AggregationError: no parts, unequal dtypes or shapes, or a weight that is not positive.
    """
    if not parts or len(parts) != len(weights):
        raise AggregationError(f"{len(parts)} parts cannot be averaged with {len(weights)} weights")
    if min(weights) <= 0:
        raise AggregationError(f"weights must be positive, not {list(weights)}")
    first = parts[0]
    for part in parts[1:]:
        if part.dtype != first.dtype or part.shape != first.shape:
            raise AggregationError(
                f"parts differ: {first.dtype}{list(first.shape)} and {part.dtype}{list(part.shape)}"
            )
    if first.dtype.kind != "f":
        return np.asarray(np.maximum.reduce(parts))
    total = float(sum(weights))
    mean = np.zeros(first.shape, np.float64)
    scratch = np.empty(first.shape, np.float64)
    for part, weight in zip(parts, weights, strict=True):
        np.multiply(part, weight / total, out=scratch, dtype=np.float64)
        mean += scratch
    return mean.astype(first.dtype)
