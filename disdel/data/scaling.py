"""Means and deviations of a training split, for networks that standardise what they are given."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.types import Scaling

# The numbers travel in each activation's request, as JSON of 200 kB at most, which any platform
# takes. It is not the limit of the one at hand: what is learned does not depend on where.
_MOST_FEATURES = 8192
_BLOCK_BYTES = 64 << 20


def scaling_of(
    x: NDArray[Any], y: NDArray[Any], positions: NDArray[np.intp] | None = None
) -> Scaling | None:
    """What standardises a training split; None for images with classes, whose range is known.

    Args:
        x: shape (samples, *sample): images uint8, others int32, int64 or float32.
        y: shape (samples, *target), int32 classes or float32 numbers to predict.
        positions: of the samples that count; None for all.

    Returns:
        Means and deviations of each entry of the last axis, over all others; one of both where
        there are more than can travel.
    """
    images, numbers = x.dtype == np.uint8, y.dtype.kind == "f"
    if images and not numbers:
        return None
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    target_mean: tuple[float, ...] = (0.0,)
    target_deviation: tuple[float, ...] = (1.0,)
    if not images:
        width = x.shape[-1] if x.shape[-1] <= _MOST_FEATURES else 1
        mean, deviation = _moments(x, width, positions)
    if numbers:
        several = y.ndim == 2 and y.shape[1] <= _MOST_FEATURES
        target_mean, target_deviation = _moments(y, y.shape[1] if several else 1, positions)
    return Scaling(
        mean=mean,
        deviation=deviation,
        target_mean=target_mean,
        target_deviation=target_deviation,
    )


def _moments(
    samples: NDArray[Any], width: int, positions: NDArray[np.intp] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each of `width` columns; 1 for that of a column that does not vary."""
    count = len(samples) if positions is None else len(positions)
    size = max(1, _BLOCK_BYTES // (8 * math.prod(samples.shape[1:])))

    def blocks() -> Iterator[NDArray[np.float64]]:
        for start in range(0, count, size):
            block = slice(start, start + size)
            chosen = samples[block] if positions is None else samples[positions[block]]
            yield chosen.reshape(-1, width).astype(np.float64)

    rows = count * math.prod(samples.shape[1:]) // width
    mean = (sum(block.sum(axis=0) for block in blocks()) / rows).astype(np.float32)
    squares = sum(np.square(block - mean).sum(axis=0) for block in blocks())
    deviation = np.sqrt(np.asarray(squares / rows)).astype(np.float32)
    # Beside a large mean, what rounding leaves of a constant is no variation.
    varies = deviation > 1e-6 * np.abs(mean)
    deviation = np.where(varies & (deviation > 1e-30), deviation, 1.0)
    return _plain(mean), _plain(deviation)


def _plain(values: NDArray[Any]) -> tuple[float, ...]:
    """As Python floats that are as short as float32 allows."""
    return tuple(float(f"{value:.9g}") for value in values.tolist())
