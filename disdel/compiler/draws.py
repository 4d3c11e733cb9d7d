"""Random numbers of a training step, as a function of its random state. Imports JAX."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax

# JAX has no useful types for these.
JaxArray = Any


@dataclass(slots=True)
class Draws:
    """Random numbers of one step: those of the same seed and draw are always the same.

    JAX writes its generator for CPUs as a loop, which IREE executes turn by turn. This one hashes
    counters, in one expression that fuses with what uses it.

    Attributes:
        seed: () uint32, of the step.
        count: draws so far in this step.
    """

    seed: JaxArray
    count: int = 0

    def bits(self, shape: tuple[int, ...]) -> JaxArray:
        """Uniform uint32 of `shape`."""
        self.count += 1
        draw = _mixed(self.seed ^ _mixed(jnp.uint32(self.count)))
        position = lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
        return _mixed(_mixed(position) ^ draw)

    def keeps(self, rate: float, shape: tuple[int, ...]) -> JaxArray:
        """Booleans of `shape`, false with the probability `rate`."""
        return self.bits(shape) >= jnp.uint32(min(int(rate * 2**32), 2**32 - 1))

    def normal(self, shape: tuple[int, ...]) -> JaxArray:
        """Standard normal float32 of `shape` (Box and Muller, 1958)."""
        # Of 32 bits as many as a float32 tells apart; never 0, whose logarithm is infinite.
        first, second = ((self.bits(shape) >> 8).astype(jnp.float32) + 0.5 for _ in range(2))
        return jnp.sqrt(-2 * jnp.log(first / 2**24)) * jnp.cos(2 * jnp.pi / 2**24 * second)


def _mixed(values: JaxArray) -> JaxArray:
    """The last part of MurmurHash3 (fmix32): every bit of uint32 `values` changes half of all."""
    values = (values ^ (values >> 16)) * jnp.uint32(0x85EBCA6B)
    values = (values ^ (values >> 13)) * jnp.uint32(0xC2B2AE35)
    return values ^ (values >> 16)
