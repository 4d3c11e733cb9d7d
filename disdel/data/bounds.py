"""Bounds on what a user's function yields sample by sample, which may never end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from disdel.errors import DatasetError
from disdel.user_code.module import UserModule

ATTRIBUTE = "most_samples"
_MOST_SAMPLES = 2_000_000
_MOST_BYTES = 4 << 30
_MOST_S = 900.0
# `tf.data.INFINITE_CARDINALITY`.
_INFINITE = -1


def most_samples(module: UserModule) -> int | None:
    """The user's own bound, beside the function; None where there is none.

    Raises:
        DatasetError: it is no number of samples.
    """
    given = module.attribute(ATTRIBUTE)
    if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 1):
        raise DatasetError(
            f"{module.code.entry}: {ATTRIBUTE} = {given!r}, where a number of samples is needed"
        )
    return given


def bounded(pairs: Iterable[Any], where: str, most: int | None) -> Iterator[Any]:
    """Pass `pairs` on until a bound is reached.

    Args:
        pairs: of any kind; one that is a tuple or a list counts with the bytes of its arrays.
        where: what yields them, for messages.
        most: the user's own bound, the only one then.

    Raises:
        DatasetError: there are more than `most`, or more samples, bytes or seconds than a function
            that says nothing may take.
    """
    started_s, size = time.monotonic(), 0
    for count, pair in enumerate(pairs):
        if most is not None:
            if count == most:
                raise DatasetError(f"{where} yields more samples than its {ATTRIBUTE} = {most}")
            yield pair
            continue
        if isinstance(pair, tuple | list):
            size += sum(np.asarray(part).nbytes for part in pair)
        spent_s = time.monotonic() - started_s
        if count >= _MOST_SAMPLES or size > _MOST_BYTES or spent_s > _MOST_S:
            raise DatasetError(
                f"{where} has not ended after {count:,} samples, {size >> 20:,} MB and "
                f"{spent_s:.0f} s (bounds: {_MOST_SAMPLES:,}, {_MOST_BYTES >> 20:,} MB, "
                f"{_MOST_S:.0f} s). A generator must come to an end; if this one does, write "
                f"{ATTRIBUTE} = N beside the function, or return arrays"
            )
        yield pair


def check_finite(dataset: Any, where: str) -> None:
    """Refuse a `tf.data.Dataset` that says that it has no end.

    Raises:
        DatasetError: it does.
    """
    if int(dataset.cardinality()) == _INFINITE:
        raise DatasetError(
            f"{where} is a tf.data.Dataset without end: leave out .repeat(), since epochs are "
            "counted by --epochs, or bound it with .take(N)"
        )
