"""Masks: vectors of 64-bit integers that a seed makes, and that add up modulo 2⁶⁴."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disdel.secure_aggregation.keys import cryptography

Words = NDArray[np.uint64]

WORD_BYTES = 8
# ChaCha20 counts its blocks of 64 bytes with 32 bits.
MOST_WORDS = (2**32 * 64) // WORD_BYTES


@dataclass(frozen=True, slots=True)
class SignedSeed:
    """A mask, and whether it is added or taken away."""

    seed: bytes
    sign: int


def mask(seed: bytes, first: int, count: int) -> Words:
    """The words `first` to `first + count` of a seed's stream, (count,).

    Raises:
        ValueError: a stream has fewer.
    """
    if first + count > MOST_WORDS:
        raise ValueError(f"a stream has {MOST_WORDS} words, and no word {first + count}")
    library = cryptography()
    block, within = divmod(first * WORD_BYTES, library.CIPHER_BLOCK_BYTES)
    stream = library.keystream(seed, block, within + count * WORD_BYTES)
    return np.frombuffer(stream, "<u8", count, within).astype(np.uint64, copy=False)


def total(masks: Iterable[SignedSeed], first: int, count: int) -> Words:
    """The sum of signed masks modulo 2⁶⁴, (count,)."""
    added = np.zeros(count, np.uint64)
    for one in masks:
        if one.sign > 0:
            added += mask(one.seed, first, count)
        else:
            added -= mask(one.seed, first, count)
    return added


def pair_sign(client: int, other: int) -> int:
    """The sign of a pair's mask in the update of `client`: the other has the opposite one."""
    return 1 if client < other else -1
