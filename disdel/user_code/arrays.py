"""Arrays that code of the user's returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from disdel.errors import DatasetError


def as_array(given: object, what: str) -> npt.NDArray[Any]:
    """What was returned as samples or targets, as an array of any shape.

    Raises:
        DatasetError: entries are masked; numpy would take whatever fills their places.
    """
    parts = given if isinstance(given, list | tuple) else (given,)
    if any(map(_has_masked, parts)):
        raise DatasetError(
            f"{what} have masked entries, which no training step leaves out: fill them "
            "(x.filled(0)), or leave those samples out"
        )
    return np.asarray(given)


def _has_masked(given: object) -> bool:
    # numpy's module of masked arrays is not in every action; pandas has a method of that name.
    mask = getattr(given, "mask", None)
    return isinstance(mask, np.ndarray | np.bool_) and bool(np.any(mask))
