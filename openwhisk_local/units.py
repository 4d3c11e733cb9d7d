"""OpenWhisk's "MB" is 2**20 bytes, and so is every `_mb` here."""

from __future__ import annotations

import math

MIB = 1 << 20


def mb_ceil(size_bytes: float) -> int:
    """The smallest whole number of MB that holds `size_bytes`."""
    return math.ceil(size_bytes / MIB)
