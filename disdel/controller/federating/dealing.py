"""Who trains in which container: clients are dealt so that the containers end together."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# The endpoints at which a client may train now, or the sizes of containers, by name; None for any.
Where = Callable[[int], frozenset[str] | None]


def deal(seconds: Mapping[int, float], containers: int) -> list[list[int]]:
    """The clients of each container, in the order in which they train.

    The client that takes longest first, each goes to the container that has least to do so far
    (Graham, 1969, https://doi.org/10.1137/0117039: at most 4/3 of the least time).

    Args:
        seconds: what each client is predicted to take.
        containers: how many train at the same time.

    Returns:
        As many lists as there are containers with something to do.
    """
    heap = [(0.0, container) for container in range(min(containers, len(seconds)))]
    hands: list[list[int]] = [[] for _ in heap]
    for client in sorted(seconds, key=lambda client: (-seconds[client], client)):
        busy_s, container = heapq.heappop(heap)
        hands[container].append(client)
        heapq.heappush(heap, (busy_s + seconds[client], container))
    return hands


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A container at an endpoint, or of a size.

    Attributes:
        worker: its number.
        endpoint: where it is, or of which size, by name.
        slowness: how many times as long a step takes there as where it is fastest.
        usd_per_gb_s: what the endpoint takes; None where nobody knows.
    """

    worker: int
    endpoint: str
    slowness: float = 1.0
    usd_per_gb_s: float | None = None


def deal_among(
    seconds: Mapping[int, float], places: Sequence[Place], where: Where, *, by_price: bool = False
) -> tuple[list[list[int]], list[int]]:
    """The same over endpoints, of which one client has less choice than another.

    Those with least choice come first, and of these who takes longest; each goes to the container,
    of those where it may train, that would be done with it first. By price, who has all choice goes
    to the cheapest endpoint.

    Args:
        seconds: what each client is predicted to take where steps are fastest.
        places: the containers.
        where: each client may train.
        by_price: whether what is cheap counts before what is fast.

    Returns:
        The clients of each container, by its number, and those that have none.
    """
    hands: list[list[int]] = [[] for _ in range(1 + max((p.worker for p in places), default=-1))]
    busy_s = dict.fromkeys((place.worker for place in places), 0.0)
    cheapest = min((_usd(place) for place in places), default=0.0)
    stranded = []

    def choice(client: int) -> tuple[float, float, int]:
        there = where(client)
        return math.inf if there is None else len(there), -seconds[client], client

    for client in sorted(seconds, key=choice):
        there = where(client)
        able = [place for place in places if there is None or place.endpoint in there]
        if there is None and by_price:
            able = [place for place in able if _usd(place) == cheapest]
        if not able:
            stranded.append(client)
            continue
        done_s = {p.worker: busy_s[p.worker] + seconds[client] * p.slowness for p in able}
        worker = min(done_s, key=lambda one: (done_s[one], one))
        hands[worker].append(client)
        busy_s[worker] = done_s[worker]
    return hands, stranded


def _usd(place: Place) -> float:
    return math.inf if place.usd_per_gb_s is None else place.usd_per_gb_s
