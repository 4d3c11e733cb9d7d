"""Checksums of updates, in a quarter of the time of CRC-32 alone: every update gets one."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np

from disdel.types.arrays import Array

# Words of a row: a table of a large tensor's words has about as many rows.
_WORDS = 1024
_WORD_BYTES = 8


def checksum_of(tensors: Iterable[Array]) -> str:
    """Eight hexadecimal digits that differ where tensors of the same shapes do.

    The words of a tensor, 8 bytes each, stand in rows of a table. What is put through CRC-32 is the
    sum of each row and of each column, modulo 2**64, and the bytes behind the last whole row. Any
    word that changes alone shows in both its sums, and two that change places in those of their
    rows or columns.
    """
    found = 0
    for tensor in tensors:
        data = np.require(tensor, requirements="C").reshape(-1).view(np.uint8)
        rows = data.nbytes // (_WORDS * _WORD_BYTES)
        split = rows * _WORDS * _WORD_BYTES
        if rows:
            table = data[:split].view(np.uint64).reshape(rows, _WORDS)
            for axis in (0, 1):
                found = zlib.crc32(np.add.reduce(table, axis=axis).data, found)
        found = zlib.crc32(data[split:].data, found)
    return f"{found:08x}"
