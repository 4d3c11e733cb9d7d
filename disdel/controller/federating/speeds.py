"""What clients have taken so far, and so what they are predicted to take."""

from __future__ import annotations

from collections import deque
from statistics import median

import numpy as np
from numpy.typing import NDArray

from disdel.protocol import client_messages

# Before anybody has trained, all that matters is that everything takes some time.
_CLIENT_S = 0.01
_STEP_S = 0.01
# Turns of which the one in the middle is a usual one.
_RECENT = 50


class Speeds:
    """The speed of each client when it trained last.

    Who has not trained yet is taken to be as those in the middle of all that have.

    Args:
        clients: how many there are.
        batch_size: samples of a step, where a client has no other.
    """

    def __init__(self, clients: int, batch_size: int) -> None:
        # NaN where nothing is known: what a sample of a step takes, and a turn beside its steps.
        self._sample_s = np.full(clients, np.nan, np.float32)
        self._beside_s = np.full(clients, np.nan, np.float32)
        self._middle: tuple[float, float] | None = (_STEP_S / batch_size, _CLIENT_S)
        self._recent_s: deque[float] = deque(maxlen=_RECENT)

    def tell(self, turn: client_messages.ClientTurn, result: client_messages.ClientResult) -> None:
        """Remember what a turn has taken.

        Args:
            turn: with which its client was asked.
            result: of all of its steps, or of the last, if they were taken in several activations.
        """
        taken = result.steps_here * turn.batch_size
        if not taken or result.refused:
            return
        self._sample_s[turn.client] = result.train_s / taken
        self._beside_s[turn.client] = max(0.0, result.turn_s - result.train_s)
        self._middle = None
        self._recent_s.append(result.turn_s)

    def seconds(self, client: int | None, steps: int, batch_size: int) -> float:
        """What a client is predicted to take for so many steps; None for the one in the middle."""
        sample_s, beside_s = self.middle if client is None else self.of(client)
        return beside_s + steps * batch_size * sample_s

    def of(self, client: int) -> tuple[float, float]:
        """What a sample of a client's steps takes, and its turn beside them."""
        sample_s, beside_s = float(self._sample_s[client]), float(self._beside_s[client])
        return self.middle if np.isnan(sample_s) else (sample_s, beside_s)

    @property
    def known(self) -> NDArray[np.int64]:
        """Those of whom something is known, ascending, (known,)."""
        return np.flatnonzero(~np.isnan(self._sample_s))

    @property
    def turn_s(self) -> float | None:
        """What a turn has usually taken of late; None before there was one."""
        return median(self._recent_s) if self._recent_s else None

    @property
    def middle(self) -> tuple[float, float]:
        """The same of the client in the middle."""
        if self._middle is None:
            known = ~np.isnan(self._sample_s)
            self._middle = (
                float(np.median(self._sample_s[known])),
                float(np.median(self._beside_s[known])),
            )
        return self._middle
