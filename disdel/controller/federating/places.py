"""Where the clients of a federation may train now.

That is not everywhere on a platform that is several endpoints, nor where clients have memory of
their own, and so containers of that size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from disdel.controller.federating.dealing import Place, deal, deal_among
from disdel.controller.invoking.workers import Workers
from disdel.controller.training.crew import Crew
from disdel.platforms.endpoints import Endpoints, Homes
from disdel.types import ContainerSize

_NO_ANSWER = "no endpoint answers where it may train"
_BUSY = "the containers where it may train still train for an earlier round"


class Places:
    """Deals the clients of a round to the containers of all endpoints.

    Args:
        crew: whose plan has the containers.
        workers: where they are now.
        endpoints: what the platform is made of; None where it is one.
        homes: the endpoints that each client belongs to, likewise.
        memories_mb: the memory of each client, (clients,); None where all have the plan's.
    """

    def __init__(
        self,
        crew: Crew,
        workers: Workers,
        endpoints: Endpoints | None = None,
        homes: Homes | None = None,
        memories_mb: NDArray[np.float64] | None = None,
    ) -> None:
        self._crew = crew
        self._workers = workers
        self._endpoints = endpoints
        self._homes = homes
        self._memories_mb = memories_mb
        # Seconds of a step, by endpoint; and who was measured since clients were dealt last.
        self._measured: dict[str, float] = {}
        self._heard: set[str] = set()
        self._planned = {one.endpoint: one.step_s for one in crew.plan.endpoints}

    def measured(self, worker: int, step_s: float) -> None:
        """A step has taken so long where a worker is."""
        if (name := self._workers.berths.of(worker).endpoint) is not None:
            self._measured[name] = (self._measured.get(name, step_s) + step_s) / 2
            self._heard.add(name)

    def deal(
        self, seconds: Mapping[int, float], busy: Collection[int] = ()
    ) -> tuple[list[list[int]], dict[int, str]]:
        """The clients of each container, by its number; and why some have none.

        Args:
            seconds: what each client is predicted to take where steps are fastest.
            busy: the containers that take nobody now.
        """
        if self._crew.plan.sizes:
            sized = [
                Place(worker=worker, endpoint=_named(size))
                for size in self._crew.plan.sizes
                for worker in size.workers
                if worker not in busy
            ]
            hands, stranded = deal_among(seconds, sized, self.where)
            return hands, dict.fromkeys(stranded, _BUSY)
        if self._endpoints is None:
            free = [one for one in range(self._crew.plan.workers) if one not in busy]
            dealt: dict[int, list[int]] = dict(zip(free, deal(seconds, len(free)), strict=False))
            return [dealt.get(one, []) for one in range(max(dealt, default=-1) + 1)], {}
        slowness = self._slowness()
        prices = {one.endpoint: one.usd_per_gb_s for one in self._crew.plan.endpoints}
        berths = self._workers.berths
        places = [
            Place(worker=worker, endpoint=name, slowness=slowness[name], usd_per_gb_s=prices[name])
            for worker in self._workers.numbers
            if worker not in busy
            and (name := berths.of(worker).endpoint) is not None
            and berths.answers(name)
        ]
        by_price = self._endpoints.place == "price"
        hands, stranded = deal_among(seconds, places, self.where, by_price=by_price)
        return hands, {
            client: _BUSY if busy and self.where(client) != frozenset() else self.why_not(client)
            for client in stranded
        }

    def where(self, client: int) -> frozenset[str] | None:
        """The endpoints at which a client may train now, or its containers' size; None for any."""
        if self._memories_mb is not None:
            memory_mb = int(self._memories_mb[client])
            its = (one for one in self._crew.plan.sizes if memory_mb in one.clients_mb)
            return frozenset(map(_named, its))
        home = None if self._homes is None else self._homes.of(client)
        if home is None or self._homes is None:
            return None
        berths = self._workers.berths
        there = frozenset(name for name in home if berths.answers(name))
        # Who may move goes on elsewhere while none of its own answers.
        return there or (None if self._homes.may_move(client) else frozenset())

    def why_not(self, client: int) -> str:
        """Why a client that may train nowhere now does not."""
        home = None if self._homes is None else self._homes.of(client)
        if not home:
            return _NO_ANSWER
        names = " and ".join(sorted(home))
        return f"endpoint{'s' * (len(home) > 1)} {names}, where it stays, gave no answer"

    def trains_at(self, worker: int) -> Callable[[int], bool]:
        """Whether a client may train where a worker is."""
        size = self._crew.plan.size_of(worker)
        name = self._workers.berths.of(worker).endpoint if size is None else _named(size)

        def may(client: int) -> bool:
            there = self.where(client)
            return there is None or name is None or name in there

        return may

    def _slowness(self) -> dict[str, float]:
        """How many times as long a step takes at each endpoint as where it is fastest."""
        planned, measured = self._planned, self._measured
        # What was not measured yet differs from its plan as the others do.
        factors = [measured[name] / planned[name] for name in measured if planned.get(name)]
        factor = sum(factors) / len(factors) if factors else 1.0
        steps = {name: measured.get(name, step_s * factor) for name, step_s in planned.items()}
        for name in measured.keys() - self._heard:
            # One that was slow once, and so has nothing to do, is given another chance in time.
            measured[name] = (measured[name] + planned[name] * factor) / 2
        self._heard.clear()
        least = min(steps.values(), default=1.0) or 1.0
        return {name: step_s / least for name, step_s in steps.items()}


def _named(size: ContainerSize) -> str:
    return f"{size.memory_mb} MB"
