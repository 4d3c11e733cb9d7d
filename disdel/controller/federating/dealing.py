"""Who trains in which container: clients are dealt so that the containers end together."""

from __future__ import annotations

import heapq
from collections.abc import Mapping


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
