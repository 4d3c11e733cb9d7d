"""Samples in the dtype that a trained model takes."""

from __future__ import annotations

import numpy as np

from disdel.errors import UsageError
from disdel.types.arrays import Array


def given_as(x: Array, dtype: str) -> Array:
    """Samples in the dtype that a model takes.

    Args:
        x: of any numeric dtype and shape.
        dtype: numpy name of the model's.

    Raises:
        UsageError: it takes integers, and these are not whole, or beyond them.
    """
    wanted = np.dtype(dtype)
    if wanted.kind != "i":
        return x.astype(wanted)
    # Beyond the range, a conversion gives any number.
    with np.errstate(invalid="ignore"):
        whole = x.astype(wanted)
    if x.dtype != wanted and (whole != x).any():
        odd = x[whole != x][0]
        raise UsageError(
            f"the model takes samples of whole numbers ({dtype}), and {odd} is among these"
        )
    return whole
