"""The messages of a ServerApp, until it has fetched their replies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

# Flower's codes (`flwr.common.constant.ErrorCode`), which the controller does not import.
UNKNOWN = 0
MESSAGE_UNAVAILABLE = 3
NODE_UNAVAILABLE = 5
CLIENT_APP_CRASHED = 8


@dataclass(slots=True, kw_only=True)
class Letter:
    """A message on its way, as `frames` has it, and its reply once there is one.

    Attributes:
        message: Flower's id of it.
        partition: the number of its node.
        type: as `train`.
        round: that it is of; 0 where nobody says.
        expires_s: when nobody waits for a reply any more, in seconds since the epoch.
        digest: SHA-256 of its content, under which that is stored.
        sent_bytes: of that.
        packed: the message without it, as Flower serialises it, in base64.
        reply: as Flower serialises it.
        error: Flower's code and reason where there is none.
        done: whether there is one of both.
    """

    message: str
    partition: int
    type: str
    round: int
    expires_s: float
    digest: str
    sent_bytes: int
    packed: str
    reply: bytes | bytearray = b""
    error: tuple[int, str] | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, reply: bytes | bytearray = b"", error: tuple[int, str] | None = None) -> None:
        """There is a reply, or an error in place of it."""
        self.reply, self.error = reply, error
        self.done.set()


class Mailbox:
    """Letters by the ids of their messages."""

    def __init__(self) -> None:
        self._letters: dict[str, Letter] = {}

    def add(self, letter: Letter) -> None:
        self._letters[letter.message] = letter

    async def pull(self, ids: Sequence[str], wait_s: float) -> list[tuple[str, Letter | None]]:
        """Messages with a reply, None for those that are not known; they are forgotten with this.

        Args:
            ids: of the messages.
            wait_s: how long the first reply is waited for.
        """
        letters = {one: self._letters.get(one) for one in ids}
        waiting = [letter.done for letter in letters.values() if letter is not None]
        if len(waiting) == len(letters) and not any(done.is_set() for done in waiting) and wait_s:
            await _first(waiting, wait_s)
        ready = [
            (one, letter)
            for one, letter in letters.items()
            if letter is None or letter.done.is_set()
        ]
        for one, _ in ready:
            self._letters.pop(one, None)
        return ready


async def _first(events: Iterable[asyncio.Event], wait_s: float) -> None:
    """Wait until one of them is set."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def answer(number: Any, ready: Sequence[tuple[str, Letter | None]]) -> tuple[dict[str, Any], bytes]:
    """The frame that answers a pull: what is ready, and the bytes of all replies in a row."""
    replies: list[dict[str, Any]] = []
    for one, letter in ready:
        said: dict[str, Any] = {"message": one, "size": 0}
        if letter is not None and letter.error is not None:
            said["code"], said["reason"] = letter.error
        elif letter is not None:
            said["size"] = len(letter.reply)
        replies.append(said)
    body = b"".join(letter.reply for _, letter in ready if letter is not None)
    return {"q": number, "replies": replies}, body
