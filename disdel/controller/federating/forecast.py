"""What the clients of a federation are expected to do in a round, for its plan."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from disdel.controller.federating.roster import Roster
from disdel.planner.question import ClientScores, ClientWork, SizedClients
from disdel.types import FederateJob
from disdel.types.federation import steps_of_round


class Forecast:
    """What is known of a federation's rounds before the first.

    Args:
        job: the federation.
        roster: its clients.
    """

    def __init__(self, job: FederateJob, roster: Roster) -> None:
        self._job = job
        self._roster = roster
        self._works: dict[int, tuple[ClientWork, ...]] = {}
        ones = np.ones(len(roster.sizes))
        epochs, batches = job.of_clients("local_epochs"), job.of_clients("client_batch")
        self._epochs = ones if epochs is None else epochs
        self._batches = ones * job.batch_size if batches is None else batches

    def work(self, count: int) -> tuple[ClientWork, ...]:
        """What each of so many clients does that are like most."""
        if count not in self._works:
            like = self._roster.like_most(count).tolist()
            self._works[count] = tuple(self._work_of(client) for client in like)
        return self._works[count]

    def _work_of(self, client: int) -> ClientWork:
        samples, batch = self._roster.samples(client), int(self._batches[client])
        steps = steps_of_round(samples, batch, float(self._epochs[client]))
        # The last batch of an epoch has what is left.
        return ClientWork(steps, samples / steps_of_round(samples, batch, 1.0))

    def scores(self) -> ClientScores | None:
        """What clients score in the run; None where they do not."""
        asked, sizes = self._job.evaluating, self._roster.sizes
        if not asked.tells:
            return None
        rounds = self._job.rounds
        times = sum(map(asked.is_due, range(1, rounds + 1))) if asked.is_asked else 0
        if asked.is_asked and (asked.keep_personal or not asked.is_due(rounds)):
            times += 1
        scored = sizes if asked.holdout is None else self._roster.held
        further = None
        if asked.personalize is not None:
            steps = np.ceil(sizes / self._batches).sum()
            further = ClientWork(math.ceil(steps * asked.personalize), float(sizes.sum() / steps))
        return ClientScores(
            times=times,
            clients=int(np.count_nonzero(scored)),
            samples=int(scored.sum()),
            further=further,
            before_average=asked.before_average,
        )

    def sizes(self) -> tuple[SizedClients, ...]:
        """Who trains in containers of which size, by --client-memory, ascending."""
        memories = self._job.of_clients("client_memory_mb")
        if memories is None:
            return ()
        able = self._roster.sizes > 0
        steps = self._epochs * np.ceil(self._roster.sizes / self._batches)
        expected = self._job.asked / np.count_nonzero(able)
        return tuple(
            self._sized(int(memory_mb), (memories == memory_mb) & able, steps, expected)
            for memory_mb in np.unique(memories[able])
        )

    def _sized(
        self,
        memory_mb: int,
        among: NDArray[np.bool_],
        steps: NDArray[np.float64],
        expected: float,
    ) -> SizedClients:
        return SizedClients(
            memory_mb=memory_mb,
            clients=expected * np.count_nonzero(among),
            share=float(steps[among].sum() / steps.sum()),
            samples=lambda count: self._roster.typical(count, among),
            batch_size=int(self._batches[among].max()),
        )
