"""Who shares masks and secrets with whom: a regular graph over a round's clients.

Each client has k neighbours, its share of a secret goes to them, and t of them give it back. As in
Bell et al. (2020, section 3), k grows with the logarithm of the cohort. It is the least for which
the chance that one of these fails in a round is below 2⁻⁴⁰ and 2⁻³⁰:

- privacy: no client has t neighbours that collude with the server, and the clients that do not
  collude stay connected, whoever else vanishes;
- correctness: every client keeps t neighbours that answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from disdel.errors import UsageError
from disdel.types.privacy import LEAST_SECURE_CLIENTS

# The share of a cohort that may collude with the server.
COLLUDING = 0.1
_PRIVATE = 2.0**-40
_CORRECT = 2.0**-30


@dataclass(frozen=True, slots=True)
class Degree:
    """How many neighbours a client has; of these and itself, `threshold` give back its secrets."""

    neighbours: int
    threshold: int


def least_answers(clients: int, threshold: float) -> int:
    """How many of a cohort must answer for there to be a sum.

    Raises:
        UsageError: a sum of so few shows the single ones.
    """
    if clients < LEAST_SECURE_CLIENTS:
        raise UsageError(
            f"a sum of {clients} updates hides no single one: secure aggregation needs at least "
            f"{LEAST_SECURE_CLIENTS} clients a round"
        )
    return max(LEAST_SECURE_CLIENTS - 1, math.ceil(round(threshold * clients, 9)))


@cache
def degree(clients: int, threshold: float) -> Degree:
    """The graph of a cohort of which at least the share `threshold` answers to the end.

    In small cohorts everybody is everybody's neighbour, and as many as must answer give a secret
    back: all the others together, and the server, learn nothing of it.

    Raises:
        UsageError: a sum of so few shows the single ones.
    """
    least = least_answers(clients, threshold)
    colluding, vanishing = math.ceil(COLLUDING * clients), 1 - threshold
    for neighbours in range(2, clients - 1, 2):
        if clients * (COLLUDING + vanishing) ** (neighbours / 2) > _PRIVATE:
            continue
        hit = _draws(clients - 1, colluding, neighbours)
        staying = _draws(clients - 1, least - 1, neighbours)
        found = next(t for t in range(2, neighbours + 2) if clients * sum(hit[t:]) <= _PRIVATE)
        if clients * sum(staying[:found]) <= _CORRECT:
            return Degree(neighbours, found)
    return Degree(clients - 1, least)


def neighbours(clients: Sequence[int], count: int, seed: int) -> dict[int, tuple[int, ...]]:
    """The neighbours of each client: those next to it on a ring in an order of the seed's.

    Args:
        clients: of a round, different.
        count: even, or one less than there are clients.
        seed: of the round; everybody makes the same graph of it.

    Returns:
        For each client its neighbours, ascending; who has whom is had by it.
    """
    ordered = sorted(clients)
    if count >= len(ordered) - 1:
        return {one: tuple(other for other in ordered if other != one) for one in ordered}
    ring = [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
    offsets = [step for half in range(1, count // 2 + 1) for step in (half, -half)]
    return {
        one: tuple(sorted(ring[(place + step) % len(ring)] for step in offsets))
        for place, one in enumerate(ring)
    }


def _draws(all_: int, marked: int, drawn: int) -> list[float]:
    """The chance that so many of those drawn are marked, by their number (hypergeometric)."""

    def ways(of: int, chosen: int) -> float:
        """The logarithm of a binomial coefficient."""
        if not 0 <= chosen <= of:
            return -math.inf
        return math.lgamma(of + 1) - math.lgamma(chosen + 1) - math.lgamma(of - chosen + 1)

    return [
        math.exp(ways(marked, hits) + ways(all_ - marked, drawn - hits) - ways(all_, drawn))
        for hits in range(drawn + 1)
    ]
