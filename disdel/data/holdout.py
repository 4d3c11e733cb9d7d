"""Splits that are held out of a training split, the classes in proportion, at most 10,000 samples.

Of a data set without a test split, one sample in five; the choice depends on the labels alone (of
numbers to predict, and of several classes a sample, on how many samples there are), so every run
and every machine holds out the same. For the validation of one training, one sample in ten of what
is left, chosen by the run's seed.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from disdel.errors import DatasetError

HeldOut: TypeAlias = Literal["test", "validation"]

_SEED = 20_240_229
_MOST = 10_000
# One sample in so many.
_SHARES: dict[HeldOut, int] = {"test": 5, "validation": 10}


def held_out_size(samples: int, split: HeldOut = "test") -> int:
    """How many of `samples` are held out.

    Raises:
        DatasetError: there are fewer than two samples.
    """
    if samples < 2:
        raise DatasetError(
            f"to hold out a {split} split at least 2 samples are needed, not {samples}"
        )
    return min(max(1, samples // _SHARES[split]), _MOST)


def hold_out(
    labels: NDArray[Any], split: HeldOut = "test", seed: int = _SEED
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Part the positions 0 to n-1 into those that train and those that are held out.

    Args:
        labels: shape (n, *target): class numbers from 0, or float32: numbers to predict.
        split: what they are held out for.
        seed: of the choice, below 2**32.

    Returns:
        The positions of the training split and of the held-out split, both ascending. Each class
        gives its proportional share to within one sample.

    Raises:
        DatasetError: there are fewer than two samples.
    """
    total = held_out_size(len(labels), split)
    if labels.dtype.kind == "f" or labels.ndim > 1:
        labels = np.zeros(len(labels), np.int32)
    counts = np.bincount(labels)
    exact = counts * (total / len(labels))
    share = np.floor(exact).astype(np.intp)
    # Largest remainders first; a stable sort, so that ties do not depend on the platform.
    order = np.argsort(-(exact - share), kind="stable")
    share[order[: total - int(share.sum())]] += 1
    # RandomState because NumPy promises that its stream never changes; Generator's may.
    random = np.random.RandomState(seed)
    held = [
        random.permutation(np.flatnonzero(labels == label))[: share[label]]
        for label in range(len(counts))
    ]
    is_held = np.zeros(len(labels), dtype=bool)
    is_held[np.concatenate(held)] = True
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)
