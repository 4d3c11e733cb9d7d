"""Updates that have come and wait for their version, and clients who are still to send theirs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count

from disdel.controller.federating.cohort import Cohort
from disdel.types.words import counted


@dataclass(slots=True)
class Asked(Cohort):
    """Clients that one container was asked to train, from the same version of the model.

    `number` is of the version that is made first after theirs.
    """

    places: Iterable[int] = field(default_factory=count)

    def next_segment(self, worker: int) -> int:  # noqa: ARG002
        """One that no other activation of the run has: a client may be asked twice in a round."""
        return next(iter(self.places))


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Clients that a container is training, since when, and how long they are predicted to take."""

    clients: Sequence[int]
    began_s: float
    predicted_s: float

    def left_s(self, now_s: float) -> float:
        """What is left of it; who is late is taken to need as long again."""
        taken_s = now_s - self.began_s
        left_s = self.predicted_s - taken_s
        return left_s if left_s > 0 else taken_s


@dataclass(slots=True)
class Buffer:
    """Updates that have come, and no version has taken yet.

    Attributes:
        size: how many make a version.
        max_staleness: by how many versions one may be late; None for any number.
        waiting: in the order in which they have come, of one container at a time.
        dropped: why clients' updates do not count, since the last version.
        spent: keys in the store that nobody reads any more.
    """

    size: int
    max_staleness: int | None = None
    waiting: list[Asked] = field(default_factory=list)
    dropped: dict[int, str] = field(default_factory=dict)
    ended: frozenset[int] = frozenset()
    spent: list[str] = field(default_factory=list)

    @property
    def updates(self) -> int:
        """How many wait."""
        return sum(asked.updates for asked in self.waiting)

    def take(self, number: int) -> list[Asked] | None:
        """Those that make a version, in an order of their own; None where more must come.

        The first to come are taken, and of these it does not matter who was first. What one
        container has added up is not taken apart. Who is too late is dropped, and may be asked
        again.
        """
        if self.max_staleness is not None:
            for asked in self.waiting:
                if (late := number - asked.number) > self.max_staleness:
                    self._drop(asked, late)
            self.waiting = [one for one in self.waiting if one.answered]
        chosen = self._chosen()
        if chosen is None:
            return None
        taken = [self.waiting[place] for place in chosen]
        self.waiting = [one for at, one in enumerate(self.waiting) if at not in chosen]
        return sorted(taken, key=lambda one: (min(one.answered), one.number))

    @property
    def is_full(self) -> bool:
        return self._chosen() is not None

    def _chosen(self) -> list[int] | None:
        """The places of those that come to a version together, the first of all that do.

        Where containers lose clients again and again, it may have to be some updates too many.
        """
        counts = [one.updates for one in self.waiting]
        sums = list(accumulate(counts))
        enough = bisect_left(sums, self.size)
        if enough == len(sums):
            return None
        first = list(range(enough + 1))
        if sums[enough] == self.size:
            return first
        found = _coming_to(self.size, counts)
        if found is None and sums[-1] >= 2 * self.size:
            return first
        return found

    def full_s(self, under_way: Iterable[UnderWay], now_s: float) -> float:
        """When there are enough for a version, in seconds from now, without anybody else."""
        missing = self.size - self.updates
        for left_s, updates in sorted((one.left_s(now_s), len(one.clients)) for one in under_way):
            missing -= updates
            if missing <= 0:
                return left_s
        return math.inf

    def _drop(self, asked: Asked, late: int) -> None:
        ago = counted(late, "version")
        why = f"too late: it began {ago} ago, and max_staleness is {self.max_staleness}"
        self.dropped |= dict.fromkeys(asked.answered, why)
        self.spent += asked.spent
        asked.answered.clear()


def _coming_to(wanted: int, counts: Sequence[int]) -> list[int] | None:
    """The places of counts that come to a number, the first of all that do."""
    # By place, what those from there on can come to.
    reached = [{0}]
    for one in reversed(counts):
        more = {known + one for known in reached[-1] if known + one <= wanted}
        reached.append(reached[-1] | more)
    reached.reverse()
    if wanted not in reached[0]:
        return None
    places = []
    for place, one in enumerate(counts):
        if wanted - one in reached[place + 1]:
            places.append(place)
            wanted -= one
    return places
