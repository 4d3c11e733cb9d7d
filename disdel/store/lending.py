"""What one activation does with the store, so that it can be lent just that."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Keys of blobs, and fields of small hashes as (key, field).

    Attributes:
        reads: blobs that it reads.
        writes: blobs that it writes, and reads and deletes again.
        creates: blobs that it writes where there is none, likewise.
        looks: fields that it reads.
        fields: fields that it writes, claims, reads and deletes.
        lasts_s: how long it may take, from when it is sent.
    """

    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    creates: frozenset[str] = frozenset()
    looks: frozenset[tuple[str, str]] = frozenset()
    fields: frozenset[tuple[str, str]] = frozenset()
    lasts_s: float
