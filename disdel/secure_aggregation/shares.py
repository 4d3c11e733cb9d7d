"""Shamir's secret sharing (1979) over the integers modulo the Mersenne prime 2⁵²¹ - 1.

A secret of 32 bytes is the value at 0 of a polynomial; each share is its value elsewhere. So many
shares as it has coefficients give the secret back, and fewer say nothing about it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from disdel.errors import AggregationError
from disdel.secure_aggregation.keys import SECRET_BYTES

PRIME = 2**521 - 1
SHARE_BYTES = 66
# So much longer than the prime that what is drawn is as good as uniform modulo it.
_DRAWN_BYTES = SHARE_BYTES + 32


def split(secret: bytes, threshold: int, points: Sequence[int], seed: bytes) -> dict[int, bytes]:
    """A share of 66 bytes for each point, of which any `threshold` give the secret back.

    Args:
        secret: 32 bytes.
        threshold: from 1 to the number of points.
        points: one for each holder, different, and above 0.
        seed: secret, and of this secret alone: the same shares are made again from it.

    Raises:
        ValueError: the secret has another size, or the points cannot share it so.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
    if not 1 <= threshold <= len(points) or len(set(points)) < len(points) or min(points) < 1:
        raise ValueError(f"no {threshold} of the points {list(points)} can share a secret")
    drawn = hashlib.shake_256(seed).digest((threshold - 1) * _DRAWN_BYTES)
    coefficients = [int.from_bytes(secret, "big")] + [
        int.from_bytes(drawn[first : first + _DRAWN_BYTES], "big") % PRIME
        for first in range(0, len(drawn), _DRAWN_BYTES)
    ]
    return {point: _value(coefficients, point).to_bytes(SHARE_BYTES, "big") for point in points}


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret, from shares by their points; those beyond `threshold` are not looked at.

    Raises:
        AggregationError: there are too few, or they are of no one secret.
    """
    if len(shares) < threshold:
        raise AggregationError(f"{len(shares)} shares of a secret are there, not {threshold}")
    used = {x: int.from_bytes(shares[x], "big") for x in sorted(shares)[:threshold]}
    secret = 0
    for x, value in used.items():
        above, below = 1, 1
        for other in used:
            if other != x:
                above = above * other % PRIME
                below = below * (other - x) % PRIME
        secret = (secret + value * above * pow(below, -1, PRIME)) % PRIME
    if secret >> (8 * SECRET_BYTES):
        raise AggregationError("the shares that were revealed belong to no one secret")
    return secret.to_bytes(SECRET_BYTES, "big")


def _value(coefficients: Sequence[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % PRIME
    return value
