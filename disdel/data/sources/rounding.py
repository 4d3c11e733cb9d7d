"""Whether numbers stay apart when they become float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.data.sources.integers import EXACT_IN_FLOAT32
from disdel.errors import DatasetError
from disdel.settings.read_options import ReadOptions

_BEYOND_FLOAT32 = 3.4e38
# Numbers of which float32 has more steps than this between the least and the greatest keep all
# that a network could learn of them.
_FINE_STEPS = 2**16
# What differs by a smaller share of its size is one number, computed in different ways.
_NOISE = 1e-12


def check_exact(
    values: NDArray[Any], names: Sequence[str], where: str, options: ReadOptions
) -> str | None:
    """Whether numbers stay apart in float32; a remark where some do not, or are rounded.

    Args:
        values: shape (samples, columns).
        names: one a column, for messages.
        where: the file, for messages.
        options: `rounded`, `from_code` and `like` of it; what a model was trained on was taken so.

    Raises:
        DatasetError: different whole numbers become one, or most of the different numbers do.
    """
    changed = _changed(values, names, where, options)
    if changed is None:
        return None
    return (
        f"{changed}: numbers beyond {EXACT_IN_FLOAT32:,} are rounded to float32, and so are others "
        "of more than 7 digits"
    )


def told_integers(x: NDArray[Any], where: str, options: ReadOptions) -> str | None:
    """A remark where integers, shape (samples, …), are not what they are in float32."""
    if _are_exact(x):
        return None
    values = x.reshape(len(x), -1)
    names = [str(place) for place in range(values.shape[1])]
    changed = _changed(values, names, where, replace(options, rounded=True))
    if changed is None:
        return None
    return (
        f"{changed}: integers beyond {EXACT_IN_FLOAT32:,} are kept as they are, and a model that "
        "computes with them in float32 would be given others"
    )


def check_integers(x: NDArray[Any], dataset: str, model: str) -> None:
    """Whether integers stay apart for a model that takes float32.

    Args:
        x: shape (samples, …).
        dataset: its name, for messages.
        model: its name, for messages.

    Raises:
        DatasetError: different ones become the same.
    """
    if _are_exact(x):
        return
    values = x.reshape(len(x), -1)
    for place in map(int, np.flatnonzero(_may_change(values))):
        alike = _whole_alike(np.unique(values[:, place]))
        if alike is not None:
            raise DatasetError(
                f"{dataset}: entry {place} of the samples has {_both(alike)}, and {model} takes "
                f"float32, which is exact for integers up to {EXACT_IN_FLOAT32:,} only, so that "
                "different ones become the same: leave it out, subtract a number first, or write a "
                "model that takes integers, as an embedding does (in Keras with keras.Input(shape, "
                'dtype="int32"))'
            )


def _are_exact(x: NDArray[Any]) -> bool:
    least, most = (int(x.min()), int(x.max())) if x.size else (0, 0)
    return least >= -EXACT_IN_FLOAT32 and most <= EXACT_IN_FLOAT32


def _changed(
    values: NDArray[Any], names: Sequence[str], where: str, options: ReadOptions
) -> str | None:
    """The columns with numbers that are others in float32, for people. As `check_exact`."""
    rounded = options.rounded or options.like is not None
    changed = []
    for place in map(int, np.flatnonzero(_may_change(values))):
        column = np.unique(values[:, place])
        # Neither NaN nor what is beyond float32, which is told elsewhere.
        column = column[np.abs(column) < _BEYOND_FLOAT32]
        alike = _whole_alike(column) or _most_alike(column)
        if alike is not None and not rounded:
            raise inexact_numbers(_both(alike), names[place], where, options)
        large = column[np.abs(column) > EXACT_IN_FLOAT32]
        whole = large[large == np.floor(large)]
        if alike is not None or (whole.astype(np.float32) != whole).any():
            changed.append(repr(names[place]))
    if not changed:
        return None
    told = ", ".join(changed[:8]) + (", …" if len(changed) > 8 else "")
    return f"column{'s' if len(changed) > 1 else ''} {told}"


def check_targets(values: NDArray[Any], where: str, options: ReadOptions) -> None:
    """Whether numbers to predict, shape (samples,), stay apart in float32.

    Raises:
        DatasetError: most of those that differ become one, and the user does not take them so.
    """
    alike = None if options.rounded else _most_alike(np.unique(values))
    if alike is not None:
        raise DatasetError(
            f"{where}: labels {_both(alike)} become one number in float32, which has 7 digits, and "
            f"so do most of the others: subtract a number first; {_taken(options)}"
        )


def inexact_numbers(examples: str, name: str, where: str, options: ReadOptions) -> DatasetError:
    """The refusal of a column whose numbers float32 does not tell apart."""
    word = name if name.replace("_", "").isalnum() else repr(name)
    drop = "" if options.from_code else f", of a table with --drop {word}"
    return DatasetError(
        f"{where}: column {name!r} has {examples}, and float32 is exact for whole numbers up to "
        f"{EXACT_IN_FLOAT32:,} only, and has 7 digits of others, so that different ones become the "
        f"same: leave the column out{drop}; subtract a number first; {_taken(options)}"
    )


def _taken(options: ReadOptions) -> str:
    """How numbers are taken as they come."""
    if options.from_code:
        return 'or return them as they are to be taken, rounded by .astype("float32")'
    return "or take them as they come with --rounded"


def _both(numbers: tuple[Any, Any]) -> str:
    return " and ".join(f"{n:.0f}" if n == np.floor(n) else str(n) for n in numbers)


def _may_change(values: NDArray[Any]) -> NDArray[np.bool_]:
    """The columns to look at closely: of numbers beyond 2**24, or close together."""
    with np.errstate(invalid="ignore", over="ignore"):
        least, most = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
        size = np.maximum(np.abs(least), np.abs(most)).astype(np.float64)
        spread = most.astype(np.float64) - least
        is_close = (spread > 0) & (spread < _span(size))
        return np.asarray(is_close | (size > EXACT_IN_FLOAT32), dtype=np.bool_)


def _span(size: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `_FINE_STEPS` of float32 come to, at numbers of that size."""
    return _FINE_STEPS * np.spacing(size.astype(np.float32)).astype(np.float64)


def _whole_alike(different: NDArray[Any]) -> tuple[Any, Any] | None:
    """Two whole numbers beyond 2**24 that are one in float32."""
    large = different[np.abs(different) > EXACT_IN_FLOAT32]
    if not (large.astype(np.float32) != large)[large == np.floor(large)].any():
        return None
    return _first_alike(large)


def _most_alike(different: NDArray[Any]) -> tuple[Any, Any] | None:
    """Two numbers that are one in float32, if most are one with another.

    Args:
        different: sorted, each once.
    """
    if len(different) < 2:
        return None
    size = np.abs(different[[0, -1]].astype(np.float64)).max(keepdims=True)
    spread = float(different[-1]) - float(different[0])
    if spread >= _span(size)[0] or spread <= _NOISE * size[0]:
        return None
    apart = len(np.unique(different.astype(np.float32)))
    return _first_alike(different) if 2 * apart <= len(different) else None


def _first_alike(different: NDArray[Any]) -> tuple[Any, Any] | None:
    alike = different.astype(np.float32)
    same = np.flatnonzero(alike[1:] == alike[:-1])
    return (different[same[0]], different[same[0] + 1]) if len(same) else None
