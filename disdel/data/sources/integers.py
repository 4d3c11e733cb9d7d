"""Whole numbers as samples: kept as integers of a dtype that all splits of a data set have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.errors import DatasetError

Samples = NDArray[Any]

# Whole numbers up to this are the same in float32.
EXACT_IN_FLOAT32 = 2**24
_MOST = np.iinfo(np.int64).max
_INT32 = np.iinfo(np.int32)


def as_integers(x: Samples, where: str) -> Samples:
    """Integers of any type as int32 where all of them fit, else as int64.

    Raises:
        DatasetError: one is beyond int64.
    """
    if x.size and int(x.max()) > _MOST:
        raise DatasetError(
            f"{where}: samples hold {int(x.max())}, and integers up to {_MOST} (int64) are taken"
        )
    fits = not x.size or (int(x.min()) >= _INT32.min and int(x.max()) <= _INT32.max)
    return np.ascontiguousarray(x, dtype=np.int32 if fits else np.int64)


def whole_or_none(x: Samples) -> Samples | None:
    """Floating-point samples as int32 where all are whole and exact in float32; else None."""
    with np.errstate(invalid="ignore"):
        # Neither is so for what is missing.
        if not (np.abs(x) <= EXACT_IN_FLOAT32).all() or not (x == np.floor(x)).all():
            return None
    return np.ascontiguousarray(x, dtype=np.int32)


def common_dtype(dtypes: set[np.dtype[Any]]) -> np.dtype[Any] | None:
    """The dtype of all splits, by those that each was read in; None where they are of two kinds.

    Whole numbers in one split and fractions in another are float32 in both.
    """
    if len(dtypes) == 1:
        return next(iter(dtypes))
    if np.dtype(np.uint8) in dtypes:
        return None
    is_float = any(dtype.kind == "f" for dtype in dtypes)
    return np.dtype(np.float32 if is_float else np.int64)
