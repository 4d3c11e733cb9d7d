"""The sum of a round's updates in fixed point: the same bits in whatever order and grouping.

What a client changed, w_client - w_round, is multiplied by its weight and rounded once to a whole
number of units of 2**-exponent; whole numbers are then added, which is exact. The exponent is set
before any client trains, such that the changes of all clients that may answer fit into 64 bits
together while none is beyond `MOST_CHANGE`; one that is, or is no number, is refused and leaves
the sum as it was. With total weight W, a mean is off by at most half a unit a client: about
n · 2**-36 for n clients of equal weight, 1e-10 for ten. Weights near 0.1 in float32 are 7e-9 apart.

Floating-point tensors are summed, running statistics among them: their mean is weighted as that of
the weights. Of integers and truth values, which count or flag, the largest is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

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
        self._before = before
        self._counts = counts
        self._keeps_largest = keeps_largest
        self.exponent = exponent
        self._blocks: list[tuple[str, slice, slice]] = []
        end = 0
        for name in (name for name in before if before[name].dtype.kind == "f"):
            for start in range(0, before[name].size, _BLOCK):
                size = min(_BLOCK, before[name].size - start)
                block = slice(start, start + size), slice(end + start, end + start + size)
                self._blocks.append((name, *block))
            end += before[name].size
        self.elements = end
        self._sums = np.zeros(end + counts, np.int64)
        # How often the bits of the rounder stand in each block beside units. They are subtracted
        # once for all updates: additions are modulo 2**64.
        self._rounders = [0] * len(self._blocks)
        self._bounds = [_bounds(before[name].reshape(-1)[block]) for name, block, _ in self._blocks]
        self.largest: dict[str, Array] = {}
        self.weight = 0.0
        self.updates = 0
        # Masks of attention hold infinities, which no step changes.
        self._finite = {
            name: finite.reshape(-1)
            for name in before
            if before[name].dtype.kind == "f" and not (finite := np.isfinite(before[name])).all()
        }
        self._changes = np.empty(_BLOCK, np.float64)

    @property
    def sums(self) -> NDArray[np.int64]:
        """Units of all elements, one after the other, and the counts, (elements + counts,)."""
        words = self._sums.view(np.uint64)
        for index, (_, _, place) in enumerate(self._blocks):
            if self._rounders[index]:
                words[place] -= np.uint64(self._rounders[index] * _ROUNDER_BITS & _ALL_BITS)
                self._rounders[index] = 0
        return self._sums

    def norm(self, after: Tensors) -> float:
        """The Euclidean norm of what a client has changed, over all floating-point tensors.

        Raises:
            UpdateRefused: it has other tensors.
        """
        _check_alike(self._before, after)
        changes = (self._change(name, after, block) for name, block, _ in self._blocks)
        with np.errstate(invalid="ignore", over="ignore"):
            # A compiled action's numpy has no BLAS, which `np.dot` would call.
            return math.sqrt(sum(float(np.einsum("n,n->", one, one)) for one in changes))

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
        _check_alike(self._before, after)
        if not 0 < weight < math.inf:
            raise UpdateRefused(f"its weight is {weight:g}, which must be a positive number")
        for index in range(len(self._blocks)):
            odd = self._add_block(index, after, weight * factor)
            if odd is not None:
                for done in range(index):
                    self._add_block(done, after, weight * factor, sign=-1)
                raise UpdateRefused(odd)
        self._sums[self.elements :] += np.array(counts or np.zeros(self._counts), np.int64)
        for name in self._before:
            if self._keeps_largest and self._before[name].dtype.kind != "f":
                known = self.largest.get(name)
                value = np.array(after[name])
                self.largest[name] = value if known is None else np.maximum(known, value)
        self.weight += weight
        self.updates += 1

    def _change(self, name: str, after: Tensors, block: slice) -> NDArray[np.float64]:
        """By what a block of a tensor has changed, in memory that the next call uses again."""
        old, new = self._before[name].reshape(-1)[block], after[name].reshape(-1)[block]
        if name in self._finite:
            finite = self._finite[name][block]
            old, new = np.where(finite, old, 0), np.where(finite, new, 0)
        changes = self._changes[: len(old)]
        with np.errstate(invalid="ignore", over="ignore"):
            np.subtract(new, old, out=changes, dtype=np.float64)
        return changes

    def _add_block(
        self, index: int, after: Tensors, weight: float, *, sign: Literal[1, -1] = 1
    ) -> str | None:
        """Add, or subtract again, what a block of an update changes; why it cannot be, or None."""
        name, block, place = self._blocks[index]
        scale = math.ldexp(weight, self.exponent)
        largest = self._most_changed(index, after[name].reshape(-1)[block])
        changes = self._change(name, after, block)
        # What is compared with NaN is false.
        if not largest <= MOST_CHANGE:
            largest = float(np.maximum(changes.max(), -changes.min()))
            if not largest <= MOST_CHANGE:
                return _too_much(name, changes)
        np.multiply(changes, scale, out=changes)
        if largest * abs(scale) < _MOST_ROUNDED:
            # The same as below, in half of the time.
            np.add(changes, _ROUNDER, out=changes)
            units = changes.view(np.int64)
            self._rounders[index] += sign
        else:
            units = np.rint(changes, out=changes).astype(np.int64)
        add = np.add if sign > 0 else np.subtract
        add(self._sums[place], units, out=self._sums[place])
        return None

    def _most_changed(self, index: int, new: Array) -> float:
        """What no change of a block is beyond; NaN or infinite where that cannot be told so.

        Two looks at the new values take half of the time of two at their changes.
        """
        least, most = self._bounds[index]
        return max(float(new.max()) - least, most - float(new.min()))


def _bounds(values: Array) -> tuple[float, float]:
    """The least and the largest of some numbers."""
    return float(values.min()), float(values.max())


def _too_much(name: str, changes: NDArray[np.float64]) -> str:
    odd = changes[~(np.abs(changes) <= MOST_CHANGE)][0]
    if not np.isfinite(odd):
        return f"{name} is no longer finite"
    return (
        f"{name} changed by {odd:.3g}, and sums take changes up to {MOST_CHANGE:.3g}; lower "
        "the learning rate"
    )


def _check_alike(before: Tensors, after: Tensors) -> None:
    odd = sorted(before.keys() ^ after.keys()) or [
        name
        for name in before
        if (before[name].shape, before[name].dtype) != (after[name].shape, after[name].dtype)
    ]
    if odd:
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
