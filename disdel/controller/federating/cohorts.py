"""The containers of a federation: each trains clients of a round's cohort, one after the other.

What has not come by the deadline of the round, or after enough others, is waited for no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from disdel.controller.federating.client_data import ClientData
from disdel.controller.federating.cohort import Cohort
from disdel.controller.federating.hands import Hands
from disdel.controller.federating.places import Places
from disdel.controller.federating.privacy import DifferentialPrivacy, check_weights
from disdel.controller.federating.roster import Roster
from disdel.controller.federating.secure import SecureSums
from disdel.controller.federating.turns import ClientTurns
from disdel.controller.invoking.actions import SizedAction
from disdel.controller.invoking.background import background
from disdel.controller.invoking.invoker import Invoker, all_of
from disdel.controller.invoking.recovery import Attempt
from disdel.controller.training.containers import Kept, TrainContainers
from disdel.controller.training.crew import Crew
from disdel.errors import StrategyFailed
from disdel.protocol import client_messages
from disdel.secure_aggregation.quantising import Grid
from disdel.strategies.base import Strategy
from disdel.strategies.exact_sum import MOST_CHANGE, exponent_for
from disdel.types import FederateJob, ModelSpec, TrainJob
from disdel.types.events import Listener
from disdel.types.privacy import LEAST_SECURE_CLIENTS


class CohortContainers(TrainContainers):
    """The containers of a federation.

    Args:
        federation: what the user asked for, which `job` stands for.
        roster: the clients.
        data: makes their samples available.
        differential: bounds their updates, under differential privacy.
    """

    def __init__(
        self,
        job: TrainJob,
        crew: Crew,
        model: ModelSpec,
        strategy: Strategy,
        action: SizedAction,
        invoker: Invoker,
        emit: Listener,
        *,
        federation: FederateJob,
        roster: Roster,
        data: ClientData,
        differential: DifferentialPrivacy | None = None,
    ) -> None:
        super().__init__(job, crew, model, strategy, action, invoker, emit)
        self._federation = federation
        self._roster = roster
        self._data = data
        self._differential = differential
        self._secure: SecureSums | None = None
        if federation.privacy.secure_aggregation:
            threshold = federation.privacy.told_threshold
            self._secure = SecureSums(invoker.keys, threshold, self._send_stage)
        self.turns = ClientTurns(
            *(federation, job, model, strategy, roster, data),
            keys=invoker.keys,
            crew=crew,
            own=self.own,
        )
        made_of = invoker.session.endpoints
        homes = None
        if made_of is not None:
            homes = made_of.homes(federation.roster, federation.data is not None)
        memories_mb = federation.of_clients("client_memory_mb")
        self._dealing = Places(crew, self._workers, made_of, homes, memories_mb)
        self._hands = Hands(
            *(federation, strategy, self.turns, self._workers, invoker),
            network=self.network,
            clipping=self._clipping,
            places=self._dealing,
            is_suspect=roster.rests.is_suspect,
        )
        self._dealt: tuple[int, list[list[int]]] | None = None
        # Why some of those that were asked have no container, or cannot say what they have.
        self._stranded: dict[int, str] = {}
        self._unknown: dict[int, str] = {}
        # Who has ended a container when it was to count its samples for this round.
        self._ended: frozenset[int] = frozenset()
        # Those of them who still train for an earlier round.
        self._still: frozenset[int] = frozenset()

    def _clipping(self) -> client_messages.Clipping | None:
        return None if self._differential is None else self._differential.clipping

    def hands(self, number: int) -> list[list[int]]:
        """The clients of a round by the container that trains them."""
        if self._dealt is None or self._dealt[0] != number:
            self._workers.settle()
            cohort = self._roster.cohort(number)
            # Endpoints are of different speeds, which places know: clients count as alike.
            alike = self.invoker.session.endpoints is not None
            busy = self.still_training()
            able = [c for c in cohort if c not in busy and c not in self._unknown]
            seconds = {c: self.turns.seconds(c, number, alike=alike) for c in able}
            hands, stranded = self._dealing.deal(seconds, self.busy())
            if self._federation.may_end_early:
                # Who is quick has answered by then, and does not wait for who is slow.
                hands = [sorted(hand, key=lambda c: (seconds[c], c)) for hand in hands]
            self._still = frozenset(cohort) & busy.keys()
            still = {c: f"it still trains for round {busy[c]}" for c in self._still}
            self._stranded = stranded | self._unknown | still
            self._dealt = number, hands
        return self._dealt[1]

    async def meet(self, number: int) -> None:
        """Know how many samples the clients of a round have; who cannot say so is not trained."""
        self._ended, counted = frozenset(), self._roster.is_counted
        self._unknown = {} if counted else await self.count(number, self._roster.cohort(number))

    async def count(self, number: int, clients: Sequence[int]) -> dict[int, str]:
        """Have those of some clients that nobody has counted say how many samples they have.

        Returns:
            Why some cannot, by client.
        """
        turns = [
            client_messages.ClientTurn(
                client=client,
                shard_key=None,
                start_step=0,
                stop_step=0,
                batch_size=1,
                weight=0.0,
                counts=True,
                asks_labels=self.turns.labels.lacks(client),
            )
            for client in self._roster.uncounted(clients)
        ]
        if not turns:
            return {}
        cohort = await self._beside_rounds(Cohort(number, _by_client(turns), None, task="count"))
        for client, one in cohort.answered.items():
            self._roster.count(client, one.result.samples)
        self._ended |= cohort.ended
        return cohort.dropped

    def busy(self) -> frozenset[int]:
        """The containers that still train for a round that is over."""
        return frozenset()

    def still_training(self) -> Mapping[int, int]:
        """The clients who still train for a round that is over, and for which."""
        return {}

    async def train_round(self, number: int) -> Cohort:
        """What came of a round's cohort until all have ended, or it is over for another reason.

        Raises:
            StoreLost, DataGone: the store has failed.
            StrategyFailed: the strategy weighs updates by what is not known in time.
        """
        hands = self.hands(number)
        dealt = [client for hand in hands for client in hand]
        cohort = self._begin(number, [*dealt, *self._stranded])
        asked = len(dealt)
        if self._secure is not None and 0 < asked < LEAST_SECURE_CLIENTS:
            cohort.drop(sorted(cohort.turns), f"a sum of {asked} updates would hide no single one")
            hands = []
        cohort.dropped |= self._stranded
        cohort.late, cohort.ended = self._still, self._ended & cohort.turns.keys()
        if not any(hands):
            if number == 1:
                await self._initialise(cohort)
            return cohort
        if self._secure is not None:
            await self.ensure_created()
            cohort.secure = await self._secure.open(number, hands, cohort.spent)
            shared = set(cohort.secure.shared or ())
            hands = [[client for client in hand if client in shared] for hand in hands]
            cohort.drop(sorted({*dealt} - shared), "it has not shared its secrets")
        deadline_s = self._federation.deadline_s
        until_s = None if deadline_s is None else time.time() + deadline_s
        await self._train(hands, cohort, until_s)
        self._keep_own(cohort)
        return cohort

    async def _train(
        self, hands: Sequence[Sequence[int]], cohort: Cohort, until_s: float | None
    ) -> None:
        """Have clients train until all have ended, or the round is over for another reason."""
        tasks = {
            background(
                self._hands.train(
                    worker, [cohort.turns[client] for client in hand], cohort, until_s
                )
            )
            for worker, hand in enumerate(hands)
            if hand
        }
        try:
            unheard = await self._wait(tasks, cohort, until_s)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if unheard:
            await self._close(cohort.number)
            self.invoker.journal.overtaken += unheard
        if rest := cohort.turns.keys() - cohort.answered.keys() - cohort.dropped.keys():
            cohort.drop(sorted(rest), self._why_late(cohort))
            cohort.late |= rest

    async def score_by_clients(
        self, number: int, turns: Sequence[client_messages.ClientTurn]
    ) -> Cohort:
        """Have clients score the model of round `number`, after the steps of their turns.

        Whom that does not succeed with has no score.
        """
        return await self._beside_rounds(Cohort(number, _by_client(turns), None, task="score"))

    async def _beside_rounds(self, cohort: Cohort) -> Cohort:
        """What came of turns of which nothing is averaged."""
        hands, stranded = self._dealing.deal(
            {client: self.turns.seconds_of(turn) for client, turn in cohort.turns.items()},
            self.busy(),
        )
        cohort.dropped |= stranded
        await all_of(
            self._hands.train(worker, [cohort.turns[client] for client in hand], cohort, None)
            for worker, hand in enumerate(hands)
            if hand
        )
        store = self.invoker.session.store
        for key in cohort.spent:
            await asyncio.to_thread(store.delete, key)
        return cohort

    def _keep_own(self, cohort: Cohort) -> None:
        """Remember where clients have left what they keep; whatever else there is, is spent."""
        cohort.spent += sorted(cohort.own_keys - set(cohort.kept.values()))
        for client, key in cohort.kept.items():
            if client in self.own:
                cohort.spent.append(self.own[client].key)
            self.own[client] = Kept(key, cohort.number)

    async def _initialise(self, cohort: Cohort) -> None:
        """Have the first state made where chance has asked nobody: a client takes no steps."""
        anybody = self._roster.somebody
        await asyncio.to_thread(self._data.make_ready, [anybody])
        turn = replace(self.turns.turn(anybody, cohort.number), stop_step=0)
        nobody = Cohort(cohort.number, {anybody: turn}, None)
        await self._hands.send(0, [turn], None, nobody, None)
        cohort.spent += nobody.spent

    async def unmask(self, cohort: Cohort) -> None:
        """Have clients say what unmasks the sum of those that have answered.

        Raises:
            RoundFailed: too few are left.
        """
        if self._secure is not None and cohort.secure is not None:
            cohort.secure = await self._secure.close(
                cohort.secure,
                self.hands(cohort.number),
                cohort.answered.keys(),
                cohort.spent,
                cohort.dropped,
            )

    async def _send_stage(
        self, worker: int, request: Callable[[int], client_messages.SecureRequest]
    ) -> client_messages.SecureReply:
        tries = 0

        async def send(attempt: Attempt) -> client_messages.SecureReply:
            nonlocal tries
            sent, tries = request(tries), tries + 1
            call = await self._workers.call("secure", sent, worker, attempt, number=sent.round)
            call = replace(call, clients=sent.clients)
            return await self.invoker.call(call, client_messages.SecureReply)

        return await self._workers.persist(worker, send)

    def _begin(self, number: int, clients: Sequence[int]) -> Cohort:
        turns = {client: self.turns.turn(client, number) for client in clients}
        weights = [turn.weight for turn in turns.values()]
        exponent = None if self.strategy.sees_each else self._exponent_of(weights)
        if self._differential is not None:
            check_weights(self.strategy, weights)
        if exponent is not None and turns:
            self._check_units(exponent, weights)
        further = {} if exponent is None else further_exponents(self.strategy, turns)
        return Cohort(number, turns, exponent, further)

    def _exponent_of(self, weights: Sequence[float]) -> int:
        """That of the sums of updates with these weights."""
        return exponent_for(weights or [1.0])

    def _check_units(self, exponent: int, weights: Sequence[float]) -> None:
        """Whether sums in these units are exact, and carry the noise.

        Raises:
            UsageError: they do not.
        """
        if self._differential is not None:
            self._differential.check_units(exponent, self.model.facts.parameters)
        if self._secure is not None:
            Grid(
                exponent=exponent,
                largest=MOST_CHANGE,
                clients=len(weights),
                weight=math.fsum(weights),
            ).check()

    async def _wait(
        self,
        tasks: set[asyncio.Task[None]],
        cohort: Cohort,
        until_s: float | None,
        parts: Collection[Cohort] = (),
    ) -> int:
        """Return when the round is over; how many containers are not waited for.

        What has come of its parts is then in the cohort.
        """
        pending = set(tasks)
        changed = background(cohort.changed.wait())
        try:
            while pending:
                left_s = None if until_s is None else until_s - time.time()
                if left_s is not None and left_s <= 0:
                    break
                done, _ = await asyncio.wait(
                    {*pending, changed}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done & pending:
                    task.result()
                pending -= done
                for part in parts:
                    cohort.take_in(part)
                if self._has_enough(cohort):
                    break
                if changed.done():
                    cohort.changed.clear()
                    changed = background(cohort.changed.wait())
        finally:
            changed.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await changed
        return len(pending)

    def _has_enough(self, cohort: Cohort) -> bool:
        job = self._federation
        return job.asked > job.wanted and len(cohort.answered) >= job.wanted

    def _why_late(self, cohort: Cohort) -> str:
        if self._has_enough(cohort):
            return f"late: {self._federation.wanted} clients had answered"
        return f"late: no answer within the {self._federation.deadline_s:g} s of --deadline"

    async def _close(self, number: int) -> None:
        """Let activations of a round that are still under way know that nobody waits for them."""
        store, keys = self.invoker.session.store, self.invoker.keys
        await asyncio.to_thread(store.set_field, keys.open, keys.CLOSED, str(number))


def further_exponents(
    strategy: Strategy, turns: Mapping[int, client_messages.ClientTurn]
) -> dict[str, int]:
    """Those of the further sums of a round with these turns, by name.

    Raises:
        StrategyFailed: not all of them have the same sums.
    """
    names = strategy.sum_names()
    if odd := [client for client in sorted(turns) if turns[client].sums.keys() != set(names)]:
        raise StrategyFailed(
            f"strategy {strategy.name} wants the sums {list(turns[odd[0]].sums)} of client "
            f"{odd[0]}, and {list(names)} of others"
        )
    return {name: exponent_for([abs(turn.sums[name]) for turn in turns.values()]) for name in names}


def _by_client(
    turns: Sequence[client_messages.ClientTurn],
) -> dict[int, client_messages.ClientTurn]:
    return {turn.client: turn for turn in turns}
