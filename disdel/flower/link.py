"""The ServerApp's end of its link to the controller; threads may use it at the same time."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any

from disdel.flower.frames import Frame, LinkLost, receive, send


class Link:
    """Sends, and waits for answers.

    Args:
        connection: to the controller.
        when_lost: called, in a thread of the link's, once the controller is gone.
    """

    def __init__(self, connection: socket.socket, when_lost: Callable[[], None]) -> None:
        self._connection = connection
        self._when_lost = when_lost
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, SimpleQueue[Frame]] = {}

    def begin(self) -> None:
        """From now on, all that comes is an answer."""
        threading.Thread(target=self._read, name="disdel-link", daemon=True).start()

    def tell(self, head: Mapping[str, Any], body: bytes | bytearray = b"") -> None:
        """Send a frame."""
        with self._sending:
            send(self._connection, head, body)

    def ask(self, head: Mapping[str, Any]) -> Frame:
        """The answer to a frame."""
        number = next(self._numbers)
        answers = self._waiting[number] = SimpleQueue()
        try:
            self.tell({**head, "q": number})
            return answers.get()
        finally:
            del self._waiting[number]

    def _read(self) -> None:
        with contextlib.suppress(LinkLost):
            while True:
                frame = receive(self._connection)
                if (waiting := self._waiting.get(frame.head["q"])) is not None:
                    waiting.put(frame)
        self._when_lost()
