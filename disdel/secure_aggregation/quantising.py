"""Whether a round's updates fit into sums modulo 2⁶⁴, and how exact their mean is.

An update is whole numbers of a unit, and its masks are of 64 bits. A sum that stays within ±2⁶³ is
the same with masks and without, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

from disdel.errors import UsageError

MODULUS_BITS = 64
# Weights near 0.1 in float32 are 7e-9 apart.
_LARGEST_ERROR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The fixed point of a round.

    Attributes:
        exponent: a unit is 2**-exponent.
        largest: what no element of an update, before it is weighted, is beyond.
        clients: those whose updates may come.
        weight: of all of them together.
        bits: of the modulus.
    """

    exponent: int
    largest: float
    clients: int
    weight: float
    bits: int = MODULUS_BITS

    @property
    def worst(self) -> float:
        """What no element of the sum is beyond, in units, roundings included."""
        return self.weight * self.largest * 2.0**self.exponent + self.clients / 2

    @property
    def error(self) -> float:
        """What an element of the mean is off by at most: half a unit for each client."""
        return self.clients / 2 * 2.0**-self.exponent / self.weight

    def check(self) -> None:
        """Whether the worst case fits, and the mean is exact enough.

        Raises:
            UsageError: a sum may overflow, or units are too coarse.
        """
        limit = 2.0 ** (self.bits - 1)
        if self.worst >= limit:
            raise UsageError(
                f"{self.clients} updates of weight {self.weight:g} together, of elements up to "
                f"{self.largest:g} in units of 2^-{self.exponent}, may add up to "
                f"{self.worst:.3g}, and {self.bits} bits hold less than {limit:.3g}: choose fewer "
                "clients a round, or smaller weights (--average equal)"
            )
        if self.error > _LARGEST_ERROR:
            raise UsageError(
                f"with {self.clients} clients of weight {self.weight:g} together, an element of "
                f"the mean may be off by {self.error:.3g}, and at most {_LARGEST_ERROR:g} is "
                "allowed: choose fewer clients a round"
            )
