"""The state that training begins from, drawn as a program tells. Needs numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from disdel.arrays import Array
from disdel.program import Initial, Program

Floats = npt.NDArray[np.float64]


def initial_state(program: Program, seed: int) -> dict[str, Array]:
    """The tensors of `program`'s state before the first step; each by `seed` and its own place."""
    return {
        tensor.name: _values(tensor.initial, tensor.shape, np.random.default_rng((seed, place)))
        .astype(tensor.dtype)
        .reshape(tensor.shape)
        for place, tensor in enumerate(program.state)
    }


def _values(initial: Initial, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    match initial.kind:
        case "constant":
            return np.full(shape, initial.center)
        case "uniform":
            drawn: Floats = rng.uniform(-1, 1, shape)
        case "normal":
            drawn = rng.standard_normal(shape)
        case "truncated-normal":
            drawn = _truncated_normal(shape, rng)
    return np.asarray(initial.center + initial.spread * drawn)


def _truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Standard normal; those beyond 2 are drawn again, as one in 22 is."""
    values = rng.standard_normal(shape)
    while (far := np.abs(values) > 2).any():
        values[far] = rng.standard_normal(np.count_nonzero(far))
    return values
