"""Gaussian noise for sums of integers, from a cryptographic generator.

An update is stored in fixed point: as integers, multiples of a step. Noise is drawn as a real
number and rounded to a multiple of that step, too. As the sum is an integer, rounding noise before
it is added is rounding after it: it happens to what is private already, and costs nothing. The
attacks on noise in floating point (Mironov, 2012) have nothing to go by: no sum of floats is ever
published.

A number depends on the key, a label and its place alone, so that noise can be made piece by piece,
and anew where an action is repeated. A key is for one sum: of two sums with the same noise, the
difference would have none.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disdel.errors import UsageError

KEY_BYTES = 32
# Normal numbers are made so many at a time.
_CHUNK = 8192
# Finer noise than this has as many bits below the step as float64 has beyond the noise.
_LARGEST_IN_STEPS = 2.0**50
# Coarser noise than this is no Gaussian any more where several clients' shares are added.
_LEAST_SHARE_IN_STEPS = 8.0


def new_key() -> bytes:
    """A key of the operating system's generator."""
    return secrets.token_bytes(KEY_BYTES)


def key_of_seed(seed: int) -> bytes:
    """A key that everybody can make who knows the seed: such noise repeats, and hides nothing."""
    return hashlib.sha256(f"disdel noise that is not private {seed}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard normal numbers in a fixed order, by SHAKE-256 and the method of Box and Muller.

    Attributes:
        key: secret, 32 bytes.
        label: what the numbers are for; others of it have other numbers.
    """

    key: bytes
    label: str

    def normals(self, first: int, count: int) -> NDArray[np.float64]:
        """The numbers `first` to `first + count`, (count,)."""
        start, stop = first // _CHUNK, -(-(first + count) // _CHUNK)
        whole = np.concatenate([self._chunk(i) for i in range(start, stop)] or [np.empty(0)])
        return whole[first - start * _CHUNK :][:count]

    def integers(self, first: int, count: int, deviation: float) -> NDArray[np.int64]:
        """Numbers of this standard deviation, rounded to integers, (count,)."""
        return np.rint(deviation * self.normals(first, count)).astype(np.int64)

    def _chunk(self, index: int) -> NDArray[np.float64]:
        label = f"{self.label}:{index}".encode()
        stream = hashlib.shake_256(self.key + label).digest(8 * _CHUNK)
        words = np.frombuffer(stream, np.uint64)
        # In (0, 1]: the logarithm is finite, and no normal number is beyond 9.5.
        uniform = (words.astype(np.float64) + 0.5) * 2.0**-64
        radius = np.sqrt(-2 * np.log(uniform[::2]))
        angle = 2 * np.pi * uniform[1::2]
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])


def sum_deviation(noise: float, bound: float) -> float:
    """The standard deviation of the noise in a sum of updates: z C, added once."""
    return noise * bound


def share_deviation(noise: float, bound: float, least_replies: int) -> float:
    """That of each client's share, where the clients add it: so many shares are enough together."""
    return noise * bound / float(np.sqrt(least_replies))


def check_deviation(deviation: float, step: float, *, shared: bool = False) -> None:
    """Whether fixed point of this step can carry noise of this standard deviation.

    Args:
        deviation: of one draw, in the updates' unit.
        step: of fixed point.
        shared: several draws are added, whose sum is to be as good as Gaussian. From 8 steps on, a
            sum of rounded draws differs from one rounded draw by less than exp(-300).

    Raises:
        UsageError: it cannot.
    """
    in_steps = deviation / step
    if in_steps >= _LARGEST_IN_STEPS:
        raise UsageError(
            f"noise of standard deviation {deviation:g} does not fit into steps of {step:.3g}: "
            "lower --dp-clip or the noise"
        )
    if shared and 0 < in_steps < _LEAST_SHARE_IN_STEPS:
        raise UsageError(
            f"a client's share of the noise, {deviation:.3g}, is below "
            f"{_LEAST_SHARE_IN_STEPS:g} steps of {step:.3g}, where it is no Gaussian any more: "
            "raise --dp-clip or the noise"
        )
