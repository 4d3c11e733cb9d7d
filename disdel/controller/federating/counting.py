"""Clients that nobody has counted: each says how many samples it has before it first trains.

An update's weight and the unit of its sum hang on the count, and so do the steps of a round; a plan
is made before anybody has said anything, as if all had as many as the data set has for each.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from disdel.errors import UsageError
from disdel.selection import find_selection
from disdel.strategies.base import Strategy
from disdel.types import FederateJob
from disdel.types.events import Noted


def check_uncounted(job: FederateJob, strategy: Strategy) -> None:
    """Refuse what needs the samples of all clients before the first has trained.

    Raises:
        UsageError: it is asked for, or nobody knows how many clients there are.
    """
    instead = f"write beside the function of --data {job.data} how many samples each client has"
    instead += " (def counts(): return [120, 80, …])"
    if job.clients is None:
        raise UsageError(
            f"--data {job.data}: how many clients are there? Add --clients N, and each says how "
            f"many samples it has before it first trains; or {instead}"
        )
    why = None
    if find_selection(job.select).by_size:
        why = f"--select {job.select} chooses by how many samples clients have"
    elif not strategy.awaits_all:
        why = f"strategy {strategy.name} needs the largest weight of all clients"
    elif job.lateness is not None:
        why = f"--late {job.late} needs the largest weight of all clients"
    if why is not None:
        raise UsageError(f"{why}, which nobody knows before the first round: {instead}")


def assumed_sizes(samples: int, clients: int) -> NDArray[np.int64]:
    """What each of some clients is taken to have until it says so, (clients,)."""
    return np.full(clients, max(1, math.ceil(samples / clients)), np.int64)


def note_on(assumed: int) -> Noted:
    """What a user should know of a plan for such clients."""
    return Noted(
        message=f"clients say how many samples they have when they are first asked: until then "
        f"each is planned for as if it had {assumed}, its part of the data set's. A container that "
        "one with more does not fit into is lost, and runs again with more memory"
    )
