"""Work for each client by its speed, so that all of a round end together.

FLoX's authors (Kotsehub et al., 2022, https://doi.org/10.1109/eScience55777.2022.00016) gave slow
devices fewer samples or epochs by hand; here measured speeds decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disdel.controller.federating.speeds import Speeds
from disdel.types.federation import steps_of_round
from disdel.types.names import Balance

# A client with few samples may be quick: so many times its epochs, and no more.
MOST_TIMES = 10.0


@dataclass(frozen=True, slots=True)
class Share:
    """What a client trains on in a round: so many of its own samples, for so many epochs."""

    samples: int
    epochs: float


class Balancing:
    """Gives each client as much as it does in the time that the one in the middle takes.

    Args:
        kind: whether slow clients train on fewer samples, or everybody for other numbers of epochs.
        speeds: what clients take, as measured.
        sizes: the samples of each client, (clients,).
        epochs: that are asked of each, (clients,).
        batches: the batch size of each, (clients,).
    """

    def __init__(
        self,
        kind: Balance,
        speeds: Speeds,
        sizes: NDArray[np.int64],
        epochs: NDArray[np.float64],
        batches: NDArray[np.float64],
    ) -> None:
        self._kind = kind
        self._speeds = speeds
        self._sizes = sizes
        self._epochs = epochs
        self._batches = batches
        self._round = 0
        self._target_s: float | None = None

    def share(self, client: int, number: int) -> Share:
        """What a client is asked for in a round; before anybody was measured, all that it has."""
        samples, epochs = int(self._sizes[client]), float(self._epochs[client])
        target_s = self._target(number)
        if target_s is None:
            return Share(samples, epochs)
        batch = int(self._batches[client])
        sample_s, beside_s = self._speeds.of(client)
        steps = max(1, math.floor((target_s - beside_s) / (sample_s * batch)))
        if self._kind == "epochs":
            wanted = steps / math.ceil(samples / batch)
            return Share(samples, min(wanted, MOST_TIMES * epochs))
        most = steps_of_round(samples, batch, epochs)
        if steps >= most:
            return Share(samples, epochs)
        kept = max(1, math.floor(steps / epochs)) * batch
        return Share(min(samples, kept), epochs)

    def _target(self, number: int) -> float | None:
        """What all clients are to take in a round, in seconds: the same for all whom it asks."""
        if self._round != number:
            self._round, self._target_s = number, None
            known = self._speeds.known
            if len(known):
                seconds = [
                    self._speeds.seconds(client, self._whole_steps(client), self._batches[client])
                    for client in known.tolist()
                ]
                self._target_s = float(np.median(seconds))
        return self._target_s

    def _whole_steps(self, client: int) -> int:
        batch = int(self._batches[client])
        return steps_of_round(int(self._sizes[client]), batch, float(self._epochs[client]))
