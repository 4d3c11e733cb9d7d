"""One container's clients of a round: what they are sent, and what becomes of what is lost.

A container's clients are one activation, which answers with the sum of their updates. One that came
near its limits has stored what it had, and the rest goes on in another activation. What was lost
runs again; clients with which that does not help are found by halving, and go without.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from disdel.controller.federating.cohort import Answered, Cohort
from disdel.controller.federating.dropped import named_clients
from disdel.controller.federating.places import Places
from disdel.controller.federating.replies import odd_reply
from disdel.controller.federating.stored_sums import StoredSums
from disdel.controller.federating.turns import ClientTurns
from disdel.controller.invoking.invoker import Invoker
from disdel.controller.invoking.outcomes import odd_answer
from disdel.controller.invoking.recovery import Attempt
from disdel.controller.invoking.workers import Workers
from disdel.controller.training.terms import step_terms
from disdel.errors import ActivationFailed, EndpointLost
from disdel.planner.memory import score_batch
from disdel.protocol import client_messages, messages
from disdel.strategies.base import Strategy
from disdel.types import FederateJob

# Of a request that names so many clients, and of its answer, the JSON is well below a megabyte.
_MOST_TURNS = 1000
# Where more are asked than are needed, a container hands in so many times a round.
_HAND_INS = 4
# Lost without a reason so often, several clients are halved, and one goes without.
_MOST_TRIES = {True: 2, False: 3}
# So many endpoints that give no answer, one after the other: there is none for these clients.
_MOST_MOVES = 8


def _ended_container(failure: ActivationFailed) -> bool:
    """Whether a container ended where it ran, at every try, of what may be its client's doing."""
    return not failure.in_init and (failure.unexplained or failure.outcome in ("oom", "timeout"))


def largest_piece(clients: int) -> int:
    """How many clients an activation trains at most, where rounds may end before a hand has."""
    return max(1, math.ceil(clients / _HAND_INS))


@dataclass(frozen=True, slots=True)
class _Ended:
    """An activation that ended well: what was sent, and the reply."""

    request: client_messages.TrainClientsRequest
    reply: client_messages.TrainClientsReply


class Hands:
    """Brings the clients that are dealt to a container, its hand, through their turns.

    Args:
        federation: what the user asked for.
        strategy: on whose terms they train.
        turns: is told what steps take.
        workers: the containers.
        invoker: runs activations.
        network: as the workers build it at present.
        clipping: of updates in a round, where they are clipped.
        places: where clients may train.
        is_suspect: whether a client has ended its container where it was last asked.
    """

    def __init__(
        self,
        federation: FederateJob,
        strategy: Strategy,
        turns: ClientTurns,
        workers: Workers,
        invoker: Invoker,
        network: Callable[[], messages.Network],
        clipping: Callable[[], client_messages.Clipping | None],
        places: Places,
        is_suspect: Callable[[int], bool] = lambda _client: False,
    ) -> None:
        self._federation = federation
        self._strategy = strategy
        self._turns = turns
        self._workers = workers
        self._invoker = invoker
        self._of_several = invoker.session.endpoints is not None
        self._sums = StoredSums(invoker.session.store)
        self._network = network
        self._clipping = clipping
        self._places = places
        self._is_suspect = is_suspect

    async def train(
        self,
        worker: int,
        turns: Sequence[client_messages.ClientTurn],
        cohort: Cohort,
        until_s: float | None,
        moves: int = 0,
        before: Attempt | None = None,
    ) -> None:
        """One container's clients of a round, activation by activation, after so many moves.

        `before` is how the worker was run before what failed with more clients than these.
        """
        before = before or self._workers.attempt(worker)
        # Who has ended containers before trains after the others, and alone.
        pending, begun = sorted(turns, key=lambda turn: self._is_suspect(turn.client)), None
        while pending := [turn for turn in pending if turn.client in cohort.turns]:
            piece = self._next(pending, self._piece(len(turns)))
            try:
                ended = await self.send(worker, piece, begun, cohort, until_s)
            except ActivationFailed as failure:
                if failure.cause == EndpointLost.kind:
                    await self._elsewhere(worker, pending, cohort, until_s, moves, failure)
                    return
                cohort.failures += 1
                pending, begun = pending[len(piece) :], None
                if len(piece) == 1 or cohort.is_hopeless:
                    cohort.drop([turn.client for turn in piece], self._why(worker, failure))
                    if len(piece) == 1 and _ended_container(failure):
                        cohort.ended |= {piece[0].client}
                        # What was tried for it is nothing that others need.
                        self._workers.restore(worker, before)
                else:
                    half = len(piece) // 2
                    await self.train(worker, piece[:half], cohort, until_s, moves, before)
                    await self.train(worker, piece[half:], cohort, until_s, moves, before)
                continue
            self._take(worker, ended, cohort)
            reply = ended.reply
            pending, begun = pending[len(reply.results) :], reply.begun
            if reply.outcome == "continued-memory":
                self._workers.give_room(worker)
            if reply.outcome == "ok" and len(reply.results) < len(piece):
                # The deadline of the round.
                return

    def _next(
        self, pending: Sequence[client_messages.ClientTurn], most: int
    ) -> Sequence[client_messages.ClientTurn]:
        """Those of an activation, of whom suspects come last."""
        trusted = sum(not self._is_suspect(turn.client) for turn in pending)
        return pending[: min(most, trusted) or 1]

    async def _elsewhere(
        self,
        worker: int,
        pending: Sequence[client_messages.ClientTurn],
        cohort: Cohort,
        until_s: float | None,
        moves: int,
        failure: ActivationFailed,
    ) -> None:
        """Clients whose endpoint does not answer train where they may; who stays there is late."""
        going: dict[frozenset[str] | None, list[client_messages.ClientTurn]] = {}
        for turn in pending:
            there = self._places.where(turn.client)
            if there == frozenset() or moves >= _MOST_MOVES:
                cohort.drop([turn.client], failure.reason)
            else:
                going.setdefault(there, []).append(turn)
        for there, turns in going.items():
            at = self._workers.berths.of(worker).endpoint
            if (there is None or at in there) and self._workers.berths.answers(at or ""):
                pass  # It is there already.
            elif not self._workers.move(worker, there):
                cohort.drop([turn.client for turn in turns], failure.reason)
                continue
            await self.train(worker, turns, cohort, until_s, moves + 1)
        cohort.changed.set()

    def _why(self, worker: int, failure: ActivationFailed) -> str:
        """Why a container's client goes without, and at which endpoint, where there are several."""
        why, endpoint = failure.reason or str(failure), self._workers.berths.of(worker).endpoint
        where = "" if endpoint is None else f"endpoint {endpoint}: "
        return why if why.startswith(where) else f"{where}{why}"

    def _piece(self, clients: int) -> int:
        """How many clients an activation trains at most."""
        job = self._federation
        if job.asked > job.wanted or job.lateness is not None:
            return largest_piece(clients)
        return _MOST_TURNS

    def _take(self, worker: int, ended: _Ended, cohort: Cohort) -> None:
        """Count what an activation has answered."""
        sent, reply = ended.request, ended.reply
        turns = {turn.client: turn for turn in sent.turns}
        cohort.moved_bytes += reply.moved_bytes
        each_bytes = reply.moved_bytes // max(1, len(reply.results))
        for result in reply.results:
            if result.refused:
                cohort.drop([result.client], result.refused)
                continue
            turn = turns[result.client]
            self._turns.took(turn, result)
            cohort.answered[result.client] = Answered(
                result, worker, sent.attempt, turn.weight, turn.update_key, each_bytes
            )
            if turn.keeps is not None:
                cohort.kept[result.client] = turn.keeps.new_own_key
        if cohort.exponent is not None and any(not result.refused for result in reply.results):
            cohort.sum_keys.append(sent.sum_key)
        if reply.steps:
            self._places.measured(worker, reply.train_s / reply.steps)
        cohort.changed.set()

    async def send(
        self,
        worker: int,
        turns: Sequence[client_messages.ClientTurn],
        begun: client_messages.Begun | None,
        cohort: Cohort,
        until_s: float | None,
    ) -> _Ended:
        """The activation of these clients that ended well; lost ones are replaced."""
        segment = cohort.next_segment(worker)
        cohort.training[worker] = frozenset(turn.client for turn in turns)
        number, keys, trains = cohort.number, self._invoker.keys, cohort.task == "train"
        request = client_messages.TrainClientsRequest(
            network=self._network(),
            worker=worker,
            round=number,
            segment=segment,
            attempt=0,
            turns=tuple(turns),
            micro_batches=1,
            block_steps=1,
            heed_memory=True,
            state_key=keys.state(number - 1 if trains else number),
            initialise=trains and number == 1,
            exponent=cohort.exponent,
            exponents=cohort.exponents,
            sum_key="",
            checkpoint_key="",
            progress_key=keys.progress,
            open_key=keys.open if trains else None,
            begun=begun,
            until_s=until_s,
            terms=step_terms(self._strategy, keys, number) if trains else None,
            tells_untrained=trains and self._strategy.advances,
            clipping=self._clipping() if trains else None,
            secure=cohort.secure,
        )
        tries = 0

        async def send_once(attempt: Attempt) -> _Ended:
            nonlocal tries
            count, tries = tries, tries + 1
            place = (number, worker, segment, count)
            sent = replace(
                request,
                attempt=count,
                turns=tuple(self._with_keys(turn, cohort, segment, count) for turn in turns),
                micro_batches=attempt.micro_batches,
                block_steps=attempt.block_steps,
                heed_memory=attempt.heed_memory,
                score_batch=score_batch(attempt.micro_batches),
                sum_key=keys.sum(*place),
                checkpoint_key=keys.begun(*place) if trains else keys.begun_score(*place),
            )
            cohort.spent += [*([sent.sum_key] if trains else []), sent.checkpoint_key]
            cohort.spent += [turn.update_key for turn in sent.turns if turn.update_key is not None]
            cohort.own_keys |= {turn.keeps.new_own_key for turn in sent.turns if turn.keeps}
            call = await self._workers.call(cohort.task, sent, worker, attempt, number=number)
            clients = tuple(turn.client for turn in turns)
            call = replace(call, segment=segment, attempt=count, clients=clients)
            try:
                reply = await self._invoker.call(call, client_messages.TrainClientsReply)
                if (odd := odd_reply(sent, reply)) is not None:
                    raise odd_answer(call.action, odd)
                if self._of_several and (
                    odd := await asyncio.to_thread(self._sums.odd, sent, reply)
                ):
                    raise odd_answer(call.action, odd)
                return _Ended(sent, reply)
            except ActivationFailed as failure:
                if failure.outcome == "error" and tries >= _MOST_TRIES[len(turns) > 1]:
                    failure.lost = False
                raise

        # Not all clients may train where the worker would go on.
        whom = named_clients([turn.client for turn in turns])
        return await self._workers.persist(worker, send_once, moves=False, doing=f" with {whom}")

    def _with_keys(
        self, turn: client_messages.ClientTurn, cohort: Cohort, segment: int, attempt: int
    ) -> client_messages.ClientTurn:
        """A turn with places for what the client keeps, and for an update that is not summed."""
        if cohort.task != "train":
            return turn
        keys, place = self._invoker.keys, (cohort.number, turn.client, segment, attempt)
        update_key = keys.update(*place) if cohort.exponent is None else None
        keeps = turn.keeps and replace(turn.keeps, new_own_key=keys.own(*place))
        return replace(turn, update_key=update_key, keeps=keeps)
