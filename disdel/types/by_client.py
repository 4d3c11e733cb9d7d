"""A number that may differ from client to client: `5`, `5,10,20`, or `5*10,10*90` by groups."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.errors import UsageError

_PART = re.compile(r"([0-9.eE+-]+)(?:\*([1-9][0-9]{0,8}))?")
_EXAMPLE = "5*10,10*90 is the value 5 for 10 clients and 10 for 90"
# There against slips: nobody has to know them.
_LARGE = 2**31
# What programs may give beside a number and a text, as type checkers read it.
LISTS = "Sequence[float | str] | NDArray[Any]"
Runs = tuple[tuple[float, int | None], ...]


def as_text(name: str, value: Any) -> Any:
    """A list as a text has it; anything else as it is.

    Args:
        name: of the setting, for messages.
        value: what a program gives.

    Raises:
        UsageError: what stands in the list is no number.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray):
        return value
    return joined(_written(name, one) for one in value)


def joined(texts: Iterable[str]) -> str:
    """The text of a list whose parts are such texts."""
    parts = list(texts)
    # One number by itself would be that of all clients, and a list has one for each.
    is_one = len(parts) == 1 and "*" not in parts[0]
    return f"{parts[0]}*1" if is_one else ",".join(parts)


def _written(name: str, one: Any) -> str:
    """A number, or `VALUE*COUNT`, of a list; the text has all of its digits."""
    if isinstance(one, str):
        return one
    if isinstance(one, bool | np.bool_) or not isinstance(one, Real):
        raise UsageError(f"{name} takes a list of numbers, one for each client, not one of {one!r}")
    return str(int(one)) if isinstance(one, Integral) else repr(float(one)).removesuffix(".0")


def read_runs(
    name: str, value: float | str, *, low: float, high: float, whole: bool = False
) -> Runs:
    """The numbers of neighbouring clients, each with how many these are; None for all there are.

    Args:
        name: of the setting, for messages.
        value: a number, or a text such as `5,10,20` or `5*10,10*90`.
        low: the least number.
        high: the greatest.
        whole: whether numbers must be whole.

    Raises:
        UsageError: it is none of these, or a number is out of range.
    """
    if not isinstance(value, str):
        return ((_checked(name, float(value), low, high, whole=whole), None),)
    parts = [_PART.fullmatch(part.strip()) for part in value.split(",")]
    found = []
    for part in parts:
        if part is None:
            raise UsageError(
                f"{name} must be a number, a list with one for each client (5,10,20), or "
                f"VALUE*COUNT by groups ({_EXAMPLE}), not {value[:60]!r}"
            )
        try:
            number = float(part[1])
        except ValueError:
            number = math.nan
        found.append((_checked(name, number, low, high, whole=whole), int(part[2] or 1)))
    if len(found) == 1 and parts[0] is not None and parts[0][2] is None:
        return ((found[0][0], None),)
    return tuple(found)


def check_clients(name: str, runs: Runs, clients: int) -> None:
    """Refuse numbers of more or fewer clients than there are.

    Raises:
        UsageError: they are.
    """
    counted = sum(count or 1 for _, count in runs)
    if counted != clients and not _is_for_all(runs):
        raise UsageError(
            f"{name} has numbers for {counted} clients, and there are {clients}: give one for all, "
            f"one for each, or groups as VALUE*COUNT ({_EXAMPLE})"
        )


def by_client(name: str, runs: Runs, clients: int) -> NDArray[np.float64]:
    """The number of each client, (clients,).

    Raises:
        UsageError: they are of more or fewer clients.
    """
    if _is_for_all(runs):
        return np.full(clients, runs[0][0])
    check_clients(name, runs, clients)
    return np.repeat([number for number, _ in runs], [count or 1 for _, count in runs])


def _is_for_all(runs: Runs) -> bool:
    return len(runs) == 1 and runs[0][1] is None


def largest(runs: Runs) -> float:
    return max(number for number, _ in runs)


def least(runs: Runs) -> float:
    return min(number for number, _ in runs)


def _checked(name: str, number: float, low: float, high: float, *, whole: bool) -> float:
    if not low <= number <= high or (whole and number % 1):
        kind = "whole numbers" if whole else "numbers"
        # A bound that nobody means to reach is told to who is beyond it.
        is_open = high >= _LARGE and not number > high
        bounds = f"of at least {low:g}" if is_open else f"from {low:g} to {high:.15g}"
        raise UsageError(f"{name} takes {kind} {bounds}, not {number:g}")
    return number
