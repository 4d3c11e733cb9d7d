"""The join of a round: its updates become one average, in one action or in a tree of them.

One collectWeights action reads every update, so its time grows with the workers while the workers'
own does not. Above `fan_in` updates, groups of them are averaged at the same time into partial
averages, those again, until one action can finish. A partial average weighs as much as its updates
together, so the result is the same mean, to the rounding of the partial ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from disdel.controller.invoking.actions import SizedAction, call_persistently
from disdel.controller.invoking.background import background
from disdel.controller.invoking.berths import Berth
from disdel.controller.invoking.invoker import Call, Invoker, all_of
from disdel.protocol import client_messages, messages
from disdel.types import LedgerEntry
from disdel.types.events import Noted

COLLECT_WEIGHTS = "collectWeights"


@dataclass(slots=True, kw_only=True)
class Collector:
    """Averages rounds.

    Attributes:
        action: collectWeights; or train, whose one container is there already.
        memory_mb: the limit of the container that is to average.
        invoker: runs activations.
        fan_in: the most updates that one activation reads, at least 2.
        is_whole: whether one activation must read all of them, so that there is no tree.
        memory_max_mb: the most memory that it may be given when it is lost.
        berth: where that container is to be now, of a platform that is several.
    """

    action: SizedAction
    memory_mb: Callable[[], int]
    invoker: Invoker
    fan_in: int
    memory_max_mb: int
    is_whole: bool = False
    berth: Callable[[], Berth | None] = lambda: None
    _warm: asyncio.Task[messages.CollectReply] | None = field(default=None, init=False)

    @property
    def is_apart(self) -> bool:
        """Whether averages are made in containers of their own."""
        return self.action.spec.name == COLLECT_WEIGHTS

    def move_to(self, action: SizedAction, memory_mb: Callable[[], int]) -> None:
        """Average in the containers of another action from now on."""
        self.action, self.memory_mb = action, memory_mb

    async def warm_up(self, number: int) -> None:
        """Create the action and start a container of it while round `number` still trains.

        Raises:
            ActivationFailed: no container can be had.
        """
        if not self.is_apart:
            return
        if self._warm is None:
            nothing = self._average(number, (), self.invoker.keys.state(number))
            self._warm = background(nothing)
        await self._warm

    async def collect(
        self,
        number: int,
        updates: Sequence[messages.Update],
        advance: messages.Advance | None = None,
    ) -> list[LedgerEntry]:
        """Publish the next state of a round, and say what went into it, by client.

        It is the mean of the updates, or what `advance` makes of that.

        Raises:
            AggregationError, ActivationFailed: there is no average.
        """
        # An average that came before the container is ready would start another one.
        await self.warm_up(number)
        ledger: list[LedgerEntry] = []
        spent: list[str] = []
        level = 0
        while len(updates) > self.fan_in and not self.is_whole:
            groups = [updates[i : i + self.fan_in] for i in range(0, len(updates), self.fan_in)]
            keys = [self.invoker.keys.partial(number, level, i) for i in range(len(groups))]
            replies = await all_of(
                self._average(number, group, key) for group, key in zip(groups, keys, strict=True)
            )
            if level == 0:
                ledger += [entry for reply in replies for entry in _entries(number, reply)]
            updates = [
                messages.Update(
                    client=group[0].client,
                    worker=group[0].worker,
                    attempt=0,
                    key=key,
                    samples=sum(update.samples for update in group),
                    weight=sum(update.weight for update in group),
                )
                for group, key in zip(groups, keys, strict=True)
            ]
            spent += keys
            level += 1
        reply = await self._average(number, updates, self.invoker.keys.state(number), advance)
        for told in reply.left_out:
            message = f"round {number} goes on without an update that has no numbers: {told}"
            self.invoker.emit(Noted(message=message, matters=True))
        spent += _passing(advance)
        if level == 0:
            ledger = _entries(number, reply)
        for key in spent:
            await asyncio.to_thread(self.invoker.session.store.delete, key)
        return ledger

    async def combine(self, request: client_messages.CombineRequest) -> tuple[int, ...]:
        """Publish the next state of a round whose updates were summed by those who trained.

        Returns:
            The counts at the end of the sum.

        Raises:
            AggregationError, ActivationFailed: there is no average.
        """
        await self.warm_up(request.round)
        reply = await self._send(request)
        for key in _passing(request.advance):
            await asyncio.to_thread(self.invoker.session.store.delete, key)
        return reply.counts

    async def _average(
        self,
        number: int,
        updates: Sequence[messages.Update],
        key: str,
        advance: messages.Advance | None = None,
    ) -> messages.CollectReply:
        return await self._send(
            messages.CollectRequest(
                round=number, updates=tuple(updates), state_key=key, advance=advance
            )
        )

    async def _send(
        self, request: messages.CollectRequest | client_messages.CombineRequest
    ) -> messages.CollectReply:
        call = Call(
            action=self.action.spec.name,
            image=self.action.spec.image,
            request=request,
            task="collect",
            worker=None,
            round=request.round,
            memory_mb=self.memory_mb(),
            timeout_s=self.action.spec.timeout_s,
        )
        return await call_persistently(
            *(self.action, self.invoker, call, messages.CollectReply),
            ceiling_mb=self.memory_max_mb,
            berth=self.berth,
        )


def _passing(advance: messages.Advance | None) -> list[str]:
    """What lies in the store only while the next state is made."""
    if advance is None:
        return []
    return [advance.mean_key, *([advance.sums_key] if advance.sums_key else [])]


def _entries(number: int, reply: messages.CollectReply) -> list[LedgerEntry]:
    return [
        LedgerEntry(
            round=number,
            client=update.client,
            worker=update.worker,
            attempt=update.attempt,
            samples=update.samples,
            checksum=update.checksum,
            weight=update.weight,
        )
        for update in reply.updates
    ]
