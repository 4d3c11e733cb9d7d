"""Which clients of a federation belong to which endpoints, as a file says it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from disdel.errors import UsageError
from disdel.platforms.endpoints import Homes

# Of a client that belongs to no endpoint.
ANYWHERE = -1
_RANGE = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?")


def read_ids(value: object, source: str) -> tuple[range, ...]:
    """Clients as `"0-2"`, `"0-2, 7"`, `7` or a list of such, ascending by what is written.

    Raises:
        UsageError: it is something else.
    """
    wrong = UsageError(
        f'{source} must name clients by their ids, as "0-2", "0-2, 7" or [0, 1, 7], not {value!r}'
    )
    parts: list[object] = value if isinstance(value, list) else [value]
    found: list[range] = []
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, int | str):
            raise wrong
        for text in str(part).split(","):
            match = _RANGE.fullmatch(text)
            if match is None:
                raise wrong
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first:
                raise UsageError(f"{source}: {text.strip()} ends before it begins")
            found.append(range(first, last + 1))
    if not found:
        raise wrong
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Clients that belong to endpoints.

    Attributes:
        ids: of the clients.
        endpoints: by their names; several are those of a label, and each client is of all of them.
        moves: whether the clients may train elsewhere while these endpoints do not answer.
        source: where the file says it, for messages.
    """

    ids: tuple[range, ...]
    endpoints: tuple[str, ...]
    moves: bool
    source: str


@dataclass(frozen=True, slots=True)
class BoundHomes(Homes):
    """The endpoints of each client.

    Attributes:
        groups: the sets of endpoints that clients belong to, by name.
        group: of each client, its place in `groups`, or `ANYWHERE`.
        stays: whether a client trains nowhere else.
    """

    groups: tuple[frozenset[str], ...]
    group: NDArray[np.int16]
    stays: NDArray[np.bool_]

    def of(self, client: int) -> frozenset[str] | None:
        """Where a client belongs; None where it may train anywhere."""
        place = int(self.group[client])
        return None if place == ANYWHERE else self.groups[place]

    def may_move(self, client: int) -> bool:
        return not self.stays[client]

    def counts(self) -> list[tuple[frozenset[str], int]]:
        """Each set of endpoints, and how many clients belong to it."""
        return [
            (group, int(np.count_nonzero(self.group == place)))
            for place, group in enumerate(self.groups)
        ]


def refuse_twice(bindings: Sequence[Binding]) -> None:
    """Refuse clients that are bound more than once.

    Raises:
        UsageError: one is.
    """
    bound = ((ids.start, ids.stop, binding.source) for binding in bindings for ids in binding.ids)
    for (_, stop, one), (start, _, other) in pairwise(sorted(bound)):
        if start < stop:
            twice = f"{one} and {other} bind" if one != other else f"{one} binds twice"
            raise UsageError(f"{twice} client {start}: leave one out")


def homes_of(bindings: Sequence[Binding], clients: int, *, own_data: bool) -> BoundHomes:
    """Where so many clients belong.

    Args:
        bindings: what the file says, each client once.
        clients: how many there are.
        own_data: whether clients have data of their own: who is bound then stays where it is.

    Raises:
        UsageError: one that is bound is none of these clients.
    """
    group = np.full(clients, ANYWHERE, np.int16)
    stays = np.zeros(clients, np.bool_)
    groups = tuple(dict.fromkeys(frozenset(binding.endpoints) for binding in bindings))
    for binding in bindings:
        for ids in binding.ids:
            if ids.stop > clients:
                raise UsageError(
                    f"{binding.source} names client {ids.stop - 1}, and there are {clients}, "
                    f"0 to {clients - 1}: change the ids, or --clients"
                )
            group[ids.start : ids.stop] = groups.index(frozenset(binding.endpoints))
            stays[ids.start : ids.stop] = own_data or not binding.moves
    return BoundHomes(groups, group, stays)
