"""Bounds on what a file may make this process hold, by what it says of itself."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable
from typing import IO

from disdel.errors import DatasetError
from disdel.host import environment

_BLOCK_BYTES = 1 << 20


def check_room(size_bytes: int, where: str) -> None:
    """Refuse what does not fit this host's memory.

    Raises:
        DatasetError: it does not.
    """
    room_mb = environment.helper_memory_mb()
    if room_mb is not None and size_bytes > room_mb << 20:
        raise DatasetError(
            f"{where} takes {size_bytes / 2**20:,.0f} MB in memory, and {room_mb:,} MB are free "
            "for it: import a part, or on a larger machine (DISDEL_HELPER_MEMORY_MB sets the bound)"
        )


class BoundedGzip(gzip.GzipFile):
    """An unpacked file that may not grow beyond what this host holds.

    Raises, when it is read:
        DatasetError: it does.
    """

    def __init__(self, packed: IO[bytes], where: str) -> None:
        super().__init__(fileobj=packed)
        self._where = where
        self._unpacked_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK_BYTES), b""))
        return self._counted(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._counted(super().read1(size))

    def _counted(self, block: bytes) -> bytes:
        before = self._unpacked_bytes // _BLOCK_BYTES
        self._unpacked_bytes += len(block)
        if self._unpacked_bytes // _BLOCK_BYTES > before:
            check_room(self._unpacked_bytes, self._where)
        return block


def array_bytes(shape: Iterable[int], itemsize: int) -> int:
    """The size of an array, however large its axes are said to be."""
    return math.prod(map(int, shape)) * itemsize


def read_at_most(file: IO[bytes], size_bytes: int) -> bytes:
    """The next bytes of a file, as many as there are; what it may grow to is not made room for."""
    blocks = []
    while size_bytes and (block := file.read(min(size_bytes, _BLOCK_BYTES))):
        blocks.append(block)
        size_bytes -= len(block)
    return b"".join(blocks)
