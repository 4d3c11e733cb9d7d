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
_ROUNDER_BITS = np.float64(_ROUNDER).view(np.int64)
_MOST_ROUNDED = 2.0**50


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
        sums: of them, one after the other, and then the counts, (elements + counts,) int64.
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
        self.sums = np.zeros(end + counts, np.int64)
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
        self._units = np.empty(_BLOCK, np.int64)

    def norm(self, after: Tensors) -> float:
        """The Euclidean norm of what a client has changed, over all floating-point tensors.

        Raises:
            UpdateRefused: it has other tensors.
        """
        _check_alike(self._before, after)
        changes = (self._change(name, after, block) for name, block, _ in self._blocks)
        with np.errstate(invalid="ignore", over="ignore"):
            return math.sqrt(sum(float(np.dot(one, one)) for one in changes))

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
        for done, (name, block, place) in enumerate(self._blocks):
            changes = self._change(name, after, block)
            largest = _largest(changes)
            # What is compared with NaN is false.
            if not largest <= MOST_CHANGE:
                refused = UpdateRefused(_too_much(name, changes))
                self._take_back(after, weight * factor, self._blocks[:done])
                raise refused
            self.sums[place] += self._in_units(changes, weight * factor, largest)
        self.sums[self.elements :] += np.array(counts or np.zeros(self._counts), np.int64)
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

    def _in_units(
        self, changes: NDArray[np.float64], weight: float, largest: float
    ) -> NDArray[np.int64]:
        """Changes up to `largest`, weighted and rounded; they are overwritten."""
        units, scale = self._units[: len(changes)], math.ldexp(weight, self.exponent)
        np.multiply(changes, scale, out=changes)
        if largest * scale < _MOST_ROUNDED:
            # The same as below, in half of the time.
            np.add(changes, _ROUNDER, out=changes)
            np.subtract(changes.view(np.int64), _ROUNDER_BITS, out=units)
        else:
            np.rint(changes, out=changes)
            np.copyto(units, changes, casting="unsafe")
        return units

    def _take_back(
        self, after: Tensors, weight: float, blocks: Sequence[tuple[str, slice, slice]]
    ) -> None:
        """Subtract again what was added of an update."""
        for name, block, place in blocks:
            changes = self._change(name, after, block)
            self.sums[place] -= self._in_units(changes, weight, _largest(changes))


def _largest(changes: NDArray[np.float64]) -> float:
    """What no change is beyond; NaN where one is."""
    return float(np.maximum(changes.max(), -changes.min()))


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
