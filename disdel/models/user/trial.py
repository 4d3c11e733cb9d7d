"""What a network of the user's own is tried out on, on the host, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disdel.protocol.description import DescribeRequest
from disdel.types.arrays import Array

_FEW = 2
_LABELS = 6
# Of a loss or of outputs, in float32 or less.
_ROUNDING = 1e-3
# What a training step that is tried out may take on this machine, and takes: each element of what
# it keeps is there with its gradient.
_STEP_BYTES = 1 << 30
_STEP_BYTES_AN_ELEMENT = 8


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Samples of the data set's own to try a network out on.

    Attributes:
        x: as stored, (n, *input_shape).
        y: class numbers int32, or numbers float32, (n, *target_shape).
        batch_size: of the job.
    """

    x: Array
    y: Array
    batch_size: int

    @classmethod
    def read(cls, request: DescribeRequest) -> Trial:
        with np.load(request.samples, allow_pickle=False) as arrays:
            return cls(arrays["x"], arrays["y"], request.batch_size)

    def few(self) -> Array:
        """Samples as stored that tell what a network gives; two, to tell apart a batch's axis."""
        return self.x[:_FEW]

    def batch(self, activations: int) -> Trial:
        """What a training step is tried on: a batch of the job's, or as much as fits.

        An action that the whole batch does not fit into cuts it as well.

        Args:
            activations: elements that a step keeps of each sample.
        """
        fit = _STEP_BYTES // max(1, _STEP_BYTES_AN_ELEMENT * activations)
        count = max(1, min(self.batch_size, fit))
        return Trial(self.x[:count], self.y[:count], self.batch_size)


def labels_for_losses(stored: Array, classes: int) -> Array:
    """Labels that a loss is tried on: of all classes, whatever the first samples are; or as stored.

    Args:
        stored: of some samples, (n, …).
        classes: 0 for numbers.
    """
    few = stored[:_LABELS]
    if not classes:
        return few
    shape = (_LABELS, *few.shape[1:])
    return (np.arange(math.prod(shape)).reshape(shape) % classes).astype(few.dtype)


def adds_up(whole: float, parts: Sequence[float], shares: Sequence[float]) -> bool:
    """Whether the loss of a batch is that of its parts, by their shares; yes if it is no number."""
    total = sum(part * share for part, share in zip(parts, shares, strict=True) if share)
    rounding = _ROUNDING * max(map(abs, parts))
    return not math.isfinite(whole) or abs(total - whole) <= rounding


def is_alike(alone: Array, among: Array) -> bool:
    """Whether a sample's outputs are the same without others in its batch, (1, …) both.

    Yes where some are no numbers.
    """
    if alone.shape != among.shape:
        return False
    close = _ROUNDING * float(np.abs(among).max(initial=0))
    return not np.isfinite(among).all() or np.allclose(alone, among, rtol=0, atol=close)


def look_like_probabilities(outputs: NDArray[np.float32]) -> bool:
    """Whether each row, the last axis of (samples, …, classes), could be a distribution."""
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1, atol=1e-3))
