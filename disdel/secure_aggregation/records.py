"""What clients leave for each other in a stage, as bytes: records of who, for whom, and what."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from disdel.errors import AggregationError

_HEAD = struct.Struct(">IIH")


class Record(NamedTuple):
    """What `client` says to or about `other`: at most 64 kB."""

    client: int
    other: int
    content: bytes


def packed(records: Iterable[Record]) -> bytes:
    return b"".join(
        _HEAD.pack(one.client, one.other, len(one.content)) + one.content for one in records
    )


def unpacked(data: bytes | bytearray) -> Iterator[Record]:
    """The records again.

    Raises:
        AggregationError: the bytes end within one.
    """
    view, place = bytes(data), 0
    while place < len(view):
        head = view[place : place + _HEAD.size]
        if len(head) < _HEAD.size:
            raise AggregationError("what clients have left for each other is cut short")
        client, other, size = _HEAD.unpack(head)
        place += _HEAD.size
        content = view[place : place + size]
        if len(content) < size:
            raise AggregationError("what clients have left for each other is cut short")
        yield Record(client, other, content)
        place += size
