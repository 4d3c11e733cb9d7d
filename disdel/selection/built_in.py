"""The selections that disdel has. Each takes milliseconds for a million clients."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from disdel.errors import UsageError
from disdel.selection.registry import Choice, selection
from disdel.selection.roster import Clients
from disdel.types.setting import Setting

Floor = Annotated[float, Setting("Share for those who were asked least.", low=0, high=1)]


@selection("uniform")
def uniform(choice: Choice) -> Clients:
    """Any of them, each as likely as another."""
    return choice.able[choice.random().choice(len(choice.able), choice.cohort, replace=False)]


@selection("poisson", by_chance=True)
def poisson(choice: Choice) -> Clients:
    """Each by itself, with the chance that gives the cohort wanted of all clients with samples.

    Nobody's chance depends on who else is there: where some are away, fewer are asked.
    """
    chance = choice.cohort / np.count_nonzero(choice.roster.samples)
    return choice.able[choice.random().random(len(choice.able)) < chance]


@selection("size", by_size=True)
def by_size(choice: Choice) -> Clients:
    """Each draw goes to a client in proportion to its samples, without replacement."""
    return _by_size(choice, choice.cohort, choice.random())


@selection("round-robin")
def round_robin(choice: Choice) -> Clients:
    """Those who were asked least, of equals the first: all are asked before anybody is again."""
    return choice.able[_least_asked(choice, choice.cohort)]


@selection("power-of-choice", by_loss=True, by_size=True)
def power_of_choice(
    choice: Choice,
    *,
    d: Annotated[int | None, Setting("Candidates; twice the cohort by default.", low=1)] = None,
) -> Clients:
    """The highest last losses of `d` candidates, who are drawn by size (Cho et al., 2020).

    https://arxiv.org/abs/2010.01243, algorithm 1 with the losses that clients had when they last
    trained (its variant rpow-d). Who has never trained has the highest of all.

    Raises:
        UsageError: there are fewer candidates than are to be chosen.
    """
    if d is not None and d < choice.cohort:
        raise UsageError(
            f"--select power-of-choice:d={d}: of {d} candidates no {choice.cohort} clients can be "
            "chosen: raise d, or lower --clients-per-round"
        )
    random = choice.random()
    candidates = _by_size(choice, min(d or 2 * choice.cohort, len(choice.able)), random)
    losses = choice.roster.loss[candidates].astype(np.float64)
    unseen = np.isnan(losses)
    # Of those who have never trained, some by lot.
    order = np.lexsort((random.random(len(candidates)), losses, unseen))
    return candidates[order[-choice.cohort :]]


@selection("fastest")
def fastest(choice: Choice, *, floor: Floor = 0.1) -> Clients:
    """Those who took least time when they last trained; who has not yet, comes first.

    A share `floor` of the cohort, rounded up, are those who were asked least, so that nobody is
    left out for good: after r rounds of a cohort of m of n clients who are always there, each was
    asked at least floor(ceil(floor * m) * r / n) times.
    """
    took_s = choice.roster.took_s[choice.able].astype(np.float64)
    unknown = np.isnan(took_s)
    took_s[unknown] = -1 - choice.random().random(int(unknown.sum()))
    return _with_floor(choice, took_s, floor)


@selection("warm")
def warm_first(choice: Choice, *, floor: Floor = 0.1) -> Clients:
    """Those whose samples a container has at hand, then any; with a floor as `fastest` has it."""
    lot = choice.random().random(len(choice.able))
    return _with_floor(choice, lot - choice.roster.warm[choice.able], floor)


def _with_floor(choice: Choice, cost: NDArray[np.float64], floor: float) -> Clients:
    """The least of a cost of the able, but for the seats of those who were asked least."""
    seats = math.ceil(floor * choice.cohort)
    places = np.empty(choice.cohort, np.int64)
    places[:seats] = _least_asked(choice, seats)
    # Chosen already.
    cost[places[:seats]] = np.inf
    places[seats:] = _least(cost, choice.cohort - seats)
    return choice.able[places]


def _least_asked(choice: Choice, count: int) -> Clients:
    """The places among the able of those who were asked least, of equals the first."""
    asked = choice.roster.asked[choice.able].astype(np.int64)
    return _least(asked * len(choice.able) + np.arange(len(choice.able)), count)


def _by_size(choice: Choice, count: int, random: np.random.Generator) -> Clients:
    """Without replacement (Efraimidis and Spirakis, 2006): of exponential clocks, the first."""
    clocks = random.exponential(size=len(choice.able)) / choice.roster.samples[choice.able]
    return choice.able[_least(clocks, count)]


def _least(values: NDArray[np.float64] | NDArray[np.int64], count: int) -> Clients:
    """The places of the `count` least."""
    if not count:
        return np.empty(0, np.int64)
    return np.argpartition(values, count - 1)[:count]
