"""Brings messages to activations and their replies back, whatever happens to these.

A lost container's message is sent again, with more memory where that ran out, a bounded number of
times; then the ServerApp gets an error for it, as Flower has them, and decides what to do without
that node. What a node keeps (`Context.state`) is that of the reply that counts: activations write
it under keys of their own, and only the accepted one's is what the node's next message starts from.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from disdel.controller.invoking.actions import SizedAction, persist
from disdel.controller.invoking.invoker import Call, Invoker
from disdel.controller.invoking.recovery import Attempt
from disdel.errors import ActivationFailed, EndpointLost
from disdel.flower.mailbox import (
    CLIENT_APP_CRASHED,
    MESSAGE_UNAVAILABLE,
    NODE_UNAVAILABLE,
    UNKNOWN,
    Letter,
)
from disdel.flower.places import Place, Places
from disdel.protocol.flower import FlowerReply, FlowerRequest
from disdel.types.events import Noted
from disdel.types.flower import MessageEnding, MessageEntry
from disdel.types.words import counted

# The task of an activation that has no message.
LOAD = "load"
# Flower's codes for why there is no reply, by the cause of the loss.
_CODES = {"": CLIENT_APP_CRASHED, EndpointLost.kind: NODE_UNAVAILABLE}


@dataclass(slots=True)
class Node:
    """One node: Flower's id of it, and where its Context is. It does one message at a time."""

    id: str
    context_key: str
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class _Delivery:
    """What is known of a message's way so far."""

    activations: list[str] = field(default_factory=list)
    attempts: int = 0
    endpoint: str | None = None
    reply: FlowerReply | None = None


@dataclass(slots=True, kw_only=True)
class Courier:
    """The messages of one run.

    Attributes:
        invoker: runs activations.
        places: where they are worked on.
        actions: the ClientApp's, by the names of places.
        client_app: its reference, as `module:attribute`.
        flwr: the version of Flower here.
        nodes: by their partitions.
        memory_mb: of the next activation; grows when one ran out of it.
    """

    invoker: Invoker
    places: Places
    actions: Mapping[str | None, SizedAction]
    client_app: str
    flwr: str
    nodes: list[Node]
    memory_mb: int
    _ended: list[tuple[MessageEntry, Sequence[str]]] = field(default_factory=list)
    _holds: Counter[str] = field(default_factory=Counter)
    _told: set[tuple[str, str]] = field(default_factory=set)

    async def load(self) -> list[FlowerReply]:
        """What containers say that have loaded the ClientApp, one at each place that answers.

        They are then warm for a message.

        Raises:
            ActivationFailed: a container could not, or no place answers.
        """
        loaded = await asyncio.gather(*map(self._load_at, self.places.all))
        found = [reply for reply in loaded if reply is not None]
        if not found:
            raise self._all_away(None)
        return found

    async def _load_at(self, place: Place) -> FlowerReply | None:
        request = FlowerRequest(client_app=self.client_app, flwr=self.flwr, worker=0)
        try:
            return await self._persist(request, place, LOAD, None, 0, _Delivery())
        except ActivationFailed as failed:
            if failed.cause != EndpointLost.kind:
                raise
            return None

    async def stage(self, digest: str, content: bytes | bytearray) -> None:
        """Keep the content of messages until `release`, and as long as one of them needs it."""
        self._holds[digest] += 1
        if self._holds[digest] == 1:
            store = self.invoker.session.store
            await self.invoker.write(store.put, self._content_key(digest), content)

    async def release(self, digest: str) -> None:
        """One who needed a content does not need it any more."""
        self._holds[digest] -= 1
        if not self._holds[digest]:
            del self._holds[digest]
            await self._delete(self._content_key(digest))

    def hold(self, letter: Letter) -> None:
        """The letter's content is needed until it is delivered."""
        self._holds[letter.digest] += 1

    async def deliver(self, letter: Letter) -> None:
        """Bring a message to its end: the letter is settled.

        Raises:
            DisdelError: platform or store are lost to the run.
        """
        began_s, delivery = time.monotonic(), _Delivery()
        node = self.nodes[letter.partition]
        outcome: MessageEnding = "ok"
        reply, why = bytearray(), None
        error: tuple[int, str] | None = None
        try:
            async with asyncio.timeout(letter.expires_s - time.time()) as limit, node.turn:
                reply = await self._answered(letter, node, delivery)
            failure = delivery.reply.failure if delivery.reply is not None else None
            if failure is not None:
                outcome, why = "raised", failure.said
        except TimeoutError:
            if not limit.expired():
                raise
            began = counted(delivery.attempts, "activation")
            outcome, why = "expired", f"no reply came in its time to live ({began} begun)"
            error = (MESSAGE_UNAVAILABLE, why)
        except ActivationFailed as failed:
            # What failed, and what to do about it; the log is in the run's folder.
            outcome, why = "lost", "; ".join(str(failed).splitlines()[:2])
            error = (_CODES.get(failed.cause, UNKNOWN), why)
        if why is not None:
            self._tell(letter, outcome, why)
        entry = self._entry(letter, node, delivery, outcome, why, len(reply), began_s)
        self._ended.append((entry, tuple(delivery.activations)))
        # The ServerApp may end with this, and then nothing more is done.
        letter.settle(reply, error)
        await self.release(letter.digest)

    def entries(self) -> tuple[MessageEntry, ...]:
        """What became of messages, in the order in which they ended."""
        spent = {
            one.id: one.memory_mb / 1024 * one.duration_ms / 1000
            for one in self.invoker.journal.activations
        }
        return tuple(
            replace(entry, gb_s=round(sum(spent.get(one, 0.0) for one in activations), 3))
            for entry, activations in self._ended
        )

    async def _answered(self, letter: Letter, node: Node, delivery: _Delivery) -> bytearray:
        """The reply, as Flower serialises it; the node keeps what belongs to it."""
        keys = self.invoker.keys
        request = FlowerRequest(
            client_app=self.client_app,
            flwr=self.flwr,
            worker=0,
            client=letter.partition,
            round=letter.round,
            message=letter.packed,
            content_key=self._content_key(letter.digest),
            context_key=node.context_key,
            reply_key=keys.flower("reply", letter.message),
            new_context_key=keys.flower("context", letter.message),
        )
        said = await self._anywhere(request, letter, delivery)
        delivery.reply = said
        accepted = f":{delivery.attempts - 1}"
        reply_key, context_key = request.reply_key + accepted, request.new_context_key + accepted
        reply = await asyncio.to_thread(self._read, reply_key, said)
        await self._delete(reply_key)
        if reply is None:
            await self._delete(context_key)
            raise ActivationFailed(
                f"the reply of node {letter.partition} in the store is not the one that its "
                "activation says it has written: it is refused",
                activation_id=said.activation,
                outcome="error",
                lost=False,
                cause="conflict",
            )
        before, node.context_key = node.context_key, context_key
        await self._delete(before)
        return reply

    def _read(self, key: str, said: FlowerReply) -> bytearray | None:
        """A reply, as its activation has written it; None where it is another."""
        blob = self.invoker.session.store.existing(key)
        # However large another may be.
        if blob.size != said.reply_bytes:
            return None
        reply = bytearray(blob.size)
        blob.read_into(memoryview(reply))
        return reply if hashlib.sha256(reply).hexdigest() == said.checksum else None

    async def _anywhere(
        self, request: FlowerRequest, letter: Letter, delivery: _Delivery
    ) -> FlowerReply:
        """The answer of a container at one of the node's places; of another, where one is away.

        Raises:
            ActivationFailed: it did not end well, or none of these places answers.
        """
        tried: set[str | None] = set()
        while (place := self.places.place_of(letter.partition, tried)) is not None:
            place.busy += 1
            delivery.endpoint = place.name
            try:
                return await self._persist(
                    request, place, letter.type, letter.partition, letter.round, delivery
                )
            except ActivationFailed as failed:
                if failed.cause != EndpointLost.kind:
                    raise
                tried.add(place.name)
            finally:
                place.busy -= 1
        raise self._all_away(letter.partition)

    def _all_away(self, partition: int | None) -> ActivationFailed:
        whose = "" if partition is None else f" where node {partition} may be"
        return ActivationFailed(
            f"no endpoint answers{whose}: {self.places.states()}",
            activation_id="",
            outcome="error",
            lost=False,
            cause=EndpointLost.kind,
        )

    async def _persist(
        self,
        request: FlowerRequest,
        place: Place,
        task: str,
        partition: int | None,
        number: int,
        delivery: _Delivery,
    ) -> FlowerReply:
        async def send(attempt: Attempt) -> FlowerReply:
            memory_mb = max(attempt.memory_mb, self.memory_mb)
            async with place.room.taken(memory_mb) as worker:
                return await self._send(
                    request, place, task, worker, memory_mb, attempt.losses, number, delivery
                )

        def moved(following: Attempt, failure: ActivationFailed) -> None:
            if failure.outcome == "oom":
                # What one message takes, others will: they need not fail first.
                self.memory_mb = max(self.memory_mb, following.memory_mb)
            whose = "the ClientApp" if partition is None else f"node {partition}"
            memory_mb = max(self.memory_mb, following.memory_mb)
            self.invoker.emit(
                Noted(
                    message=f"{task} of {whose} was lost ({failure.outcome}); it runs again with "
                    f"{memory_mb} MB"
                )
            )

        # A step cannot be cut: what was too long for the longest time limit would be so again.
        return await persist(
            send,
            Attempt(memory_mb=self.memory_mb, block_steps=1, longest=True),
            ceiling_mb=lambda: place.sizes.most_mb,
            batch_size=1,
            moved=moved,
        )

    async def _send(
        self,
        request: FlowerRequest,
        place: Place,
        task: str,
        worker: int,
        memory_mb: int,
        losses: int,
        number: int,
        delivery: _Delivery,
    ) -> FlowerReply:
        spec = await self.actions[place.name].of_size(
            min(memory_mb, place.sizes.most_mb),
            generation=self.invoker.generation,
            berth=place.berth,
        )
        own = f":{delivery.attempts}"
        delivery.attempts += 1
        call = Call(
            action=spec.name,
            endpoint=spec.endpoint,
            image=spec.image,
            request=replace(
                request,
                worker=worker,
                attempt=losses,
                threads=place.threads,
                reply_key=request.reply_key + own,
                new_context_key=request.new_context_key + own,
            ),
            task=task,
            worker=worker,
            client=request.client,
            round=number,
            attempt=losses,
            memory_mb=spec.memory_mb,
            timeout_s=spec.timeout_s,
        )
        try:
            reply = await self.invoker.call(call, FlowerReply)
        except ActivationFailed as failed:
            delivery.activations.append(failed.activation_id)
            raise
        delivery.activations.append(reply.activation)
        if reply.peak_mb > self.memory_mb:
            # It was lost before for want of memory, though nobody has said so.
            self.memory_mb = place.sizes.known(reply.peak_mb)
        return reply

    def _entry(
        self,
        letter: Letter,
        node: Node,
        delivery: _Delivery,
        outcome: MessageEnding,
        error: str | None,
        reply_bytes: int,
        began_s: float,
    ) -> MessageEntry:
        said = delivery.reply
        return MessageEntry(
            message=letter.message,
            node=node.id,
            partition=letter.partition,
            round=letter.round,
            type=letter.type,
            outcome=outcome,
            attempts=delivery.attempts,
            sent_bytes=letter.sent_bytes,
            reply_bytes=reply_bytes,
            wall_s=round(time.monotonic() - began_s, 3),
            gb_s=0.0,
            activation=said.activation if said is not None else None,
            container=said.container if said is not None else None,
            endpoint=delivery.endpoint,
            checksum=said.checksum if said is not None and reply_bytes else None,
            metrics=dict(said.metrics) if said is not None else {},
            error=error,
        )

    def _tell(self, letter: Letter, outcome: MessageEnding, why: str) -> None:
        """Tell what a user should know of a message; of many alike, of the first."""
        if (outcome, why) not in self._told:
            self._told.add((outcome, why))
            where = f" in round {letter.round}" if letter.round else ""
            self.invoker.emit(
                Noted(message=f"{letter.type} of node {letter.partition}{where} {outcome}: {why}")
            )

    def _content_key(self, digest: str) -> str:
        return self.invoker.keys.flower("content", digest)

    async def _delete(self, key: str) -> None:
        await self.invoker.write(self.invoker.session.store.delete, key)
