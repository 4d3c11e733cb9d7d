"""The sum of a round's updates in fixed point: the same bits in whatever order and grouping.

What a client changed, w_client - w_round in the precision of the weights (float32 at least), is
multiplied by its weight and rounded once to a whole number of units of 2**-exponent; whole numbers
are then added, which is exact. The exponent is set before any client trains, such that the changes
of all clients that may answer fit into 64 bits together while none is beyond `MOST_CHANGE`; one
that is, or is no number, is refused and leaves the sum as it was. With total weight W, a mean is
off by at most half a unit a client: about n · 2**-36 for n clients of equal weight, 1e-10 for ten;
and where a weight is not between half and twice what it was, by the rounding of its change, 2**-25
of that. Weights near 0.1 in float32 are 7e-9 apart.

Floating-point tensors are summed, running statistics among them: their mean is weighted as that of
the weights. Of integers and truth values, which count or flag, the largest is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from disdel.errors import UpdateRefused
from disdel.types.arrays import Array, Tensors

# What a weight may change by in one round, where a mean of float32 may still be asked for.
MOST_CHANGE = 2.0**27
_CHANGE_BITS = 27
# Of 63: one is left for the roundings.
_SUM_BITS = 62
# A block of 64-bit numbers, its copy and what it is added to stay in a core's cache.
_BLOCK = 1 << 15
# A double of this size has no bits below 1: what is added to it is rounded to a whole number, half
# to even as `rint` does, and stands in its lowest bits, if it is below 2**51.
_ROUNDER = 1.5 * 2.0**52
_ROUNDER_BITS = int(np.float64(_ROUNDER).view(np.int64))
_MOST_ROUNDED = 2.0**50
_ALL_BITS = 2**64 - 1


def exponent_for(weights: Sequence[float]) -> int:
    """The exponent of sums of updates with these weights, all of which may come."""
    _, bits = math.frexp(math.fsum(weights))
    return _SUM_BITS - _CHANGE_BITS - bits


class ExactSum:
    """A sum of updates, as one flat array in the order of the round's state.

    Args:
        before: the state that the round began with.
        exponent: of the round.
        counts: so many whole numbers of each update are added up as well.
        keeps_largest: without it, what is no floating point stays as the server has it.

    Attributes:
        elements: of all floating-point tensors.
        largest: of the other tensors, by their names.
        weight: of all updates together.
        updates: how many there are.
        exponent: of the round.
    """

    def __init__(
        self, before: Tensors, exponent: int, *, counts: int = 0, keeps_largest: bool = True
    ) -> None:
        self._kinds = _kinds(before)
        self._others = [name for name, (_, dtype) in self._kinds.items() if dtype.kind != "f"]
        if not keeps_largest:
            self._others = []
        self.exponent = exponent
        self.elements = sum(one.size for one in before.values() if one.dtype.kind == "f")
        self._sums = np.zeros(self.elements + counts, np.int64)
        self._blocks = _blocks(before, self._sums)
        # How often the bits of the rounder stand in each block beside units. They are subtracted
        # once for all updates: additions are modulo 2**64.
        self._rounders = [0] * len(self._blocks)
        self.largest: dict[str, Array] = {}
        self.weight = 0.0
        self.updates = 0

    @property
    def sums(self) -> NDArray[np.int64]:
        """Units of all elements in a row, then the counts: of shape (elements + counts,)."""
        for index, block in enumerate(self._blocks):
            if self._rounders[index]:
                words = block.units.view(np.uint64)
                words -= np.uint64(self._rounders[index] * _ROUNDER_BITS & _ALL_BITS)
                self._rounders[index] = 0
        return self._sums

    def norm(self, after: Tensors) -> float:
        """The Euclidean norm of what a client has changed, over all floating-point tensors.

        Raises:
            UpdateRefused: it has other tensors.
        """
        _check_alike(self._kinds, after)
        flat = _flat(after)
        squares = 0.0
        with np.errstate(invalid="ignore", over="ignore"):
            for block in self._blocks:
                wide = block.change(flat).astype(np.float64)
                # A compiled action's numpy has no BLAS, which `np.dot` would call.
                squares += float(np.einsum("n,n->", wide, wide))
        return math.sqrt(squares)

    def add(
        self, after: Tensors, weight: float, *, factor: float = 1.0, counts: Sequence[int] = ()
    ) -> None:
        """Add what a client has made of the round's state.

        Args:
            after: a state of the same tensors.
            weight: a positive number.
            factor: what its change is multiplied by before it is weighted.
            counts: its whole numbers.

        Raises:
            UpdateRefused: it changed something by too much, or into no number, or has other
                tensors. The sum is as it was.
        """
        _check_alike(self._kinds, after)
        if not 0 < weight < math.inf:
            raise UpdateRefused(f"its weight is {weight:g}, which must be a positive number")
        flat, scale = _flat(after), math.ldexp(weight * factor, self.exponent)
        with np.errstate(invalid="ignore", over="ignore"):
            for index in range(len(self._blocks)):
                odd = self._add_block(index, flat, scale)
                if odd is not None:
                    for done in range(index):
                        self._add_block(done, flat, scale, sign=-1)
                    raise UpdateRefused(odd)
        if counts:
            self._sums[self.elements :] += np.array(counts, np.int64)
        for name in self._others:
            known = self.largest.get(name)
            value = np.array(after[name])
            self.largest[name] = value if known is None else np.maximum(known, value)
        self.weight += weight
        self.updates += 1

    def _add_block(
        self, index: int, after: Tensors, scale: float, *, sign: Literal[1, -1] = 1
    ) -> str | None:
        """Add, or subtract again, what a block of an update changes; why it cannot be, or None."""
        block = self._blocks[index]
        changes = block.change(after)
        largest = max(float(np.maximum.reduce(changes)), -float(np.minimum.reduce(changes)))
        # What is compared with NaN is false.
        if not largest <= MOST_CHANGE:
            return _too_much(block.name, changes)
        scaled = block.scaled
        np.copyto(scaled, changes)
        np.multiply(scaled, scale, out=scaled)
        if largest * abs(scale) < _MOST_ROUNDED:
            # The same as below, in half of the time.
            np.add(scaled, _ROUNDER, out=scaled)
            units = block.scaled_bits
            self._rounders[index] += sign
        else:
            units = np.rint(scaled, out=scaled).astype(np.int64)
        (np.add if sign > 0 else np.subtract)(block.units, units, out=block.units)
        return None


@dataclass(frozen=True, slots=True)
class _Block:
    """Some neighbouring elements of a tensor, n of them, and the memory to add them up in.

    All of it is in views that are made once: a client has few steps, and Python takes as long for
    a view as numpy does for a thousand elements.

    Attributes:
        name: of the tensor.
        there: where they are in it.
        before: what the round began with.
        finite: which of them are numbers; None where all are.
        units: theirs in the sum.
        changes, scaled: for what is computed; all blocks have the same memory.
        scaled_bits: `scaled` as whole numbers.
    """

    name: str
    there: slice
    before: Array
    finite: NDArray[np.bool_] | None
    units: NDArray[np.int64]
    changes: NDArray[np.floating[Any]]
    scaled: NDArray[np.float64]
    scaled_bits: NDArray[np.int64]

    def change(self, after: Tensors) -> NDArray[np.floating[Any]]:
        """By what flat tensors differ here, in memory that the next call uses again."""
        old, new = self.before, after[self.name][self.there]
        if self.finite is not None:
            old, new = np.where(self.finite, old, 0), np.where(self.finite, new, 0)
        # To have float32 widened before the difference would take as long as all the rest.
        np.subtract(new, old, out=self.changes, dtype=self.changes.dtype)
        return self.changes


def _blocks(before: Tensors, sums: NDArray[np.int64]) -> list[_Block]:
    """The floating-point elements of a state, whose units stand in a row in `sums`."""
    blocks: list[_Block] = []
    memory = {np.dtype(kind): np.empty(_BLOCK, kind) for kind in ("<f4", "<f8")}
    wide = np.empty(_BLOCK, np.float64)
    end = 0
    for name in (name for name in before if before[name].dtype.kind == "f"):
        flat = before[name].reshape(-1)
        changes = memory[np.promote_types(flat.dtype, np.float32)]
        # Masks of attention hold infinities, which no step changes.
        finite = np.isfinite(flat)
        mask = None if finite.all() else finite
        for start in range(0, len(flat), _BLOCK):
            there = slice(start, min(start + _BLOCK, len(flat)))
            count = there.stop - start
            blocks.append(
                _Block(
                    name=name,
                    there=there,
                    before=flat[there],
                    finite=None if mask is None else mask[there],
                    units=sums[end : end + count],
                    changes=changes[:count],
                    scaled=wide[:count],
                    scaled_bits=wide[:count].view(np.int64),
                )
            )
            end += count
    return blocks


def _flat(tensors: Tensors) -> dict[str, Array]:
    return {name: tensor.reshape(-1) for name, tensor in tensors.items()}


def _too_much(name: str, changes: NDArray[np.floating[Any]]) -> str:
    odd = changes[~(np.abs(changes) <= MOST_CHANGE)][0]
    if not np.isfinite(odd):
        return f"{name} is no longer finite"
    return (
        f"{name} changed by {odd:.3g}, and sums take changes up to {MOST_CHANGE:.3g}; lower "
        "the learning rate"
    )


def _kinds(tensors: Tensors) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _check_alike(
    before: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]], after: Tensors
) -> None:
    kinds = _kinds(after)
    if kinds == before:
        return
    odd = sorted(before.keys() ^ kinds.keys()) or [
        name for name in before if before[name] != kinds[name]
    ]
    raise UpdateRefused(f"{odd[0]} is not the tensor that the round began with")


def mean_of(
    before: Array,
    sums: NDArray[np.int64] | NDArray[np.float64],
    *,
    exponent: int,
    weight: float,
) -> Array:
    """The mean of the updates in a sum.

    Args:
        before: elements of the round's state, (n,).
        sums: of the same elements, (n,).
        exponent: of the round.
        weight: of all updates in the sum.

    Returns:
        (n,), of the dtype of `before`.
    """
    mean = np.asarray(before, np.float64) + sums * math.ldexp(1 / weight, -exponent)
    return mean.astype(before.dtype)
