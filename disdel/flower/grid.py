"""Flower's Grid, whose nodes are activations: what the installed version asks of one."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import uuid4

from flwr.app import Message, RecordDict
from flwr.app.error import Error
from flwr.app.metadata import Metadata
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto, recorddict_to_proto
from flwr.proto import message_pb2
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from disdel.flower.link import Link

# A reply that comes is told at once; this only bounds how long a time-out may be late.
_WAIT_S = 5.0


class FunctionGrid(Grid):  # type: ignore[misc]  # Flower may not be there to be looked at
    """The nodes of one run.

    Replies come in the order of the nodes' partitions, whoever has answered first and in whatever
    order the strategy has drawn them, so that sums over them do not depend on either.
    """

    def __init__(self, run: Run, node_ids: Sequence[int], link: Link) -> None:
        self._run = run
        self._places = {node: place for place, node in enumerate(node_ids)}
        self._link = link
        # Of messages without a reply so far: all but their content.
        self._sent: dict[str, Metadata] = {}
        self._changing = threading.Lock()

    def set_run(self, run: Run) -> None:
        """Accept the run that this grid is of.

        Raises:
            RuntimeError: it is another.
        """
        if getattr(run, "run_id", run) != self._run.run_id:
            raise RuntimeError(f"Cannot find the run with ID: {getattr(run, 'run_id', run)}")

    @property
    def run(self) -> Run:
        """What is known of the run."""
        return Run(**vars(self._run))

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message, as its constructor does."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """All nodes, in the order of their partitions."""
        return list(self._places)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; the ids under which their replies can be pulled.

        Raises:
            ValueError: one is a reply, has no time to live, or is for a node that there is not.
        """
        return [sent.message_id for sent in self._push_all(messages)]

    def _push_all(self, messages: Iterable[Message]) -> list[Metadata]:
        digests: list[str] = []
        try:
            # One by one: a caller may make the next of the same record.
            return [self._push(message, digests) for message in messages]
        finally:
            self._link.tell({"op": "pushed", "digests": digests})

    def _push(self, message: Message, digests: list[str]) -> Metadata:
        metadata = message.metadata
        metadata.__dict__["_message_id"] = str(uuid4())
        if metadata.reply_to_message_id or metadata.ttl <= 0 or metadata.delivered_at:
            raise ValueError(f"Invalid message: {message}")
        if metadata.dst_node_id not in self._places:
            raise ValueError(
                f"Invalid message: there is no node {metadata.dst_node_id} for {message}"
            )
        content = recorddict_to_proto(message.content).SerializeToString(deterministic=True)
        digest = hashlib.sha256(content).hexdigest()
        if digest not in digests:
            # The model of a round is sent once, however many nodes get it.
            digests.append(digest)
            self._link.tell({"op": "content", "digest": digest}, content)
        bare = message_to_proto(message)
        bare.ClearField("content")
        with self._changing:
            self._sent[metadata.message_id] = metadata
        letter = {
            "message": metadata.message_id,
            "partition": self._places[metadata.dst_node_id],
            "type": metadata.message_type,
            "round": _round(message),
            "expires_s": metadata.created_at + metadata.ttl,
            "digest": digest,
            "sent_bytes": len(content),
            "packed": base64.b64encode(bare.SerializeToString(deterministic=True)).decode(),
        }
        self._link.tell({"op": "push", "letter": letter})
        return metadata

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that are there; each is given once, and an error for ids not known."""
        return list(self._pull(list(message_ids), wait_s=0.0))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for their replies, for `timeout` seconds where that is given."""
        sent = self._push_all(messages)
        # The caller's model may be large.
        del messages
        ids = [one.message_id for one in sent]
        places = {one.message_id: self._places[one.dst_node_id] for one in sent}
        found: dict[str, Message] = {}
        end_s = None if timeout is None else time.monotonic() + timeout
        while waiting := [one for one in ids if one not in found]:
            left_s = _WAIT_S if end_s is None else end_s - time.monotonic()
            if left_s <= 0:
                break
            for reply in self._pull(waiting, wait_s=min(left_s, _WAIT_S)):
                found[reply.metadata.reply_to_message_id] = reply
        return [found[one] for one in sorted(ids, key=places.__getitem__) if one in found]

    def _pull(self, ids: list[str], *, wait_s: float) -> Iterator[Message]:
        if not ids:
            return
        answer = self._link.ask({"op": "pull", "ids": ids, "wait_s": wait_s})
        rest = memoryview(answer.body)
        for said in answer.head["replies"]:
            data, rest = bytes(rest[: said["size"]]), rest[said["size"] :]
            with self._changing:
                sent = self._sent.pop(said["message"], None)
            yield self._reply(said, data, sent)

    def _reply(self, said: dict[str, Any], data: bytes, sent: Metadata | None) -> Message:
        """A reply as Flower has it."""
        reply: Message
        if sent is None:
            return self._unavailable(said["message"])
        if "code" in said:
            reply = _error(sent, said["code"], said["reason"])
        else:
            reply = message_from_proto(message_pb2.Message.FromString(data))
            theirs = reply.metadata
            if (theirs.reply_to_message_id, theirs.src_node_id, theirs.run_id) != (
                sent.message_id,
                sent.dst_node_id,
                sent.run_id,
            ):
                reason = (
                    f"node {sent.dst_node_id} answered {sent.message_id} with a reply of node "
                    f"{theirs.src_node_id} to {theirs.reply_to_message_id or 'nothing'}"
                )
                reply = _error(sent, ErrorCode.UNKNOWN, reason)
        reply.metadata.__dict__["_message_id"] = str(uuid4())
        return reply

    def _unavailable(self, message_id: str) -> Message:
        """What Flower answers where there is no message of an id, or not any more."""
        metadata = Metadata(
            run_id=self._run.run_id,
            message_id=str(uuid4()),
            src_node_id=SUPERLINK_NODE_ID,
            dst_node_id=SUPERLINK_NODE_ID,
            reply_to_message_id=message_id,
            group_id="",
            created_at=time.time(),
            ttl=0,
            message_type="system",
        )
        error = Error(
            code=ErrorCode.MESSAGE_UNAVAILABLE, reason="no message has this id, or not any more"
        )
        return Message(metadata=metadata, error=error)


def _round(message: Message) -> int:
    """The round that a message is of, where Flower's strategies say so; else 0."""
    group = message.metadata.group_id
    if group.isdecimal():
        return int(group)
    said = (record.get("server-round") for record in message.content.config_records.values())
    return next((number for number in said if type(number) is int and number >= 0), 0)


def _error(sent: Metadata, code: int, reason: str) -> Message:
    """An error in reply to a message."""
    bare = Message(metadata=sent, content=RecordDict())
    return Message(Error(code=code, reason=reason), reply_to=bare)
