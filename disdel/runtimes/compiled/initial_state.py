"""The state that training begins from, drawn as a program tells. Needs numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from disdel.protocol.program import Program, StateTensor
from disdel.types.arrays import Array

Floats = npt.NDArray[np.float32]


def initial_state(program: Program, seed: int) -> dict[str, Array]:
    """The tensors of `program`'s state before the first step, in the shapes that it names.

    Each is made by `seed` and its own place.
    """
    return {
        tensor.name: _values(tensor, np.random.default_rng((seed, place)))
        for place, tensor in enumerate(program.state)
    }


def _values(tensor: StateTensor, rng: np.random.Generator) -> Array:
    initial, shape = tensor.initial, tensor.shape
    match initial.kind:
        case "constant":
            return np.full(shape, initial.center, tensor.dtype)
        case "uniform":
            drawn: Floats = 2 * rng.random(shape, np.float32) - 1
        case "normal":
            drawn = rng.standard_normal(shape, np.float32)
        case "truncated-normal":
            drawn = _truncated_normal(shape, rng)
    return np.asarray(initial.center + initial.spread * drawn, tensor.dtype)


def _truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Standard normal; those beyond 2 are drawn again, as one in 22 is."""
    values = np.asarray(rng.standard_normal(shape, np.float32))
    while (far := np.abs(values) > 2).any():
        values[far] = rng.standard_normal(np.count_nonzero(far), np.float32)
    return values
