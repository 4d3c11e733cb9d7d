"""Rounds to come that too few clients would be there for, as a trace or the seed tells."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from disdel.controller.federating.roster import Roster
from disdel.errors import UsageError
from disdel.types import FederateJob

# What takes about a second: a thousand rounds of two hundred thousand clients, or so many rounds.
_MOST_LOOKED_AT, _MOST_ROUNDS = 200_000_000, 10_000


@dataclass(frozen=True, slots=True)
class Shortage:
    """Rounds that are short of clients.

    Attributes:
        first: of those rounds.
        clients: that are there in it, or are drawn.
        rounds: how many there are.
        fewest: clients in one of them.
    """

    first: int
    clients: int
    rounds: int
    fewest: int


def find_shortage(job: FederateJob, roster: Roster, first: int) -> Shortage | None:
    """What is short of clients from round `first` on; None where nothing is, as far as is known.

    Of many rounds with many clients, the first ones are looked at.
    """
    looked_at = min(_MOST_ROUNDS, max(1, _MOST_LOOKED_AT // roster.looked_at))
    changes = list(itertools.islice(roster.changes(first, job.rounds), looked_at + 1))
    ends = changes[1:] if len(changes) > looked_at else [*changes[1:], job.rounds + 1]
    found = None
    for number, until in zip(changes, ends, strict=False):
        if (clients := roster.foreseen(number)) < roster.least:
            found = found or Shortage(number, clients, 0, clients)
            found = replace(
                found, rounds=found.rounds + until - number, fewest=min(found.fewest, clients)
            )
    return found


def check_foreseen(job: FederateJob, roster: Roster, done: int, *, waits: bool) -> str | None:
    """Refuse a run in which a round cannot be that is certain to come.

    Args:
        job: the federation.
        roster: its clients.
        done: the rounds that a resumed run has behind it.
        waits: whether each round waits for clients of its own.

    Returns:
        What is told of one that may come; None where there is none.

    Raises:
        UsageError: a round would have too few clients.
    """
    short = find_shortage(job, roster, done + 1)
    if short is None:
        return None
    by = f"by --available {job.available}" if job.available is not None else "drawn by the seed"
    others = f", and in {short.rounds} rounds there are too few" if short.rounds > 1 else ""
    more = "raise --clients-per-round" if job.available is None else "have more there"
    do = f"--min-clients {short.fewest} goes on with them, or {more}"
    if not short.fewest or not waits:
        do = more if job.available is None else "somebody must be there in each round"
    told = (
        f"round {short.first} of {job.rounds} would have {short.clients} of {roster.able(0)} "
        f"clients, {by}, and {roster.least} must answer{others}: {do}"
    )
    stops = job.validation.target_accuracy or job.validation.patience or job.privacy.epsilon
    if short.first == done + 1 or (waits and stops is None):
        raise UsageError(told)
    return f"{told}. Unless the run ends before, it fails there"
