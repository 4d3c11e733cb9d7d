"""Units. OpenWhisk's "MB" is 2**20 bytes, and so is every `_mb` in this package."""

from __future__ import annotations

import math

MIB = 1 << 20


def mb_ceil(size_bytes: float) -> int:
    """The smallest whole number of MB that holds `size_bytes`."""
    return math.ceil(size_bytes / MIB)


def format_bytes(size_bytes: float) -> str:
    """`size_bytes` for people: three significant digits and a binary unit."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.3g} {unit}"
