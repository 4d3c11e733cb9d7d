"""What is known of the clients of a federation, in 21 bytes each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Clients: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roster:
    """Vectors of (clients,), which `tell` and `ask` change.

    It does not depend on the order in which the clients of a round answer.

    Attributes:
        samples: what each owns, int64.
        asked: rounds in which it was asked, int32, whether it has answered or not.
        loss: mean over its samples when it last trained, float32; NaN before.
        took_s: seconds that it took then, float32; NaN before.
        warm: whether a container has its samples at hand.
    """

    samples: Clients
    asked: NDArray[np.int32]
    loss: NDArray[np.float32]
    took_s: NDArray[np.float32]
    warm: NDArray[np.bool_]

    @classmethod
    def of(cls, samples: ArrayLike) -> Roster:
        """Clients with so many samples, of whom nobody has trained."""
        owned = np.asarray(samples, np.int64)
        return cls(
            samples=owned,
            asked=np.zeros(len(owned), np.int32),
            loss=np.full(len(owned), np.nan, np.float32),
            took_s=np.full(len(owned), np.nan, np.float32),
            warm=np.zeros(len(owned), np.bool_),
        )

    def ask(self, clients: ArrayLike) -> None:
        """A round's cohort, none twice."""
        self.asked[np.asarray(clients, np.int64)] += 1

    def tell(self, clients: ArrayLike, *, loss: ArrayLike, took_s: ArrayLike) -> None:
        """What those who have answered say: losses, and seconds of training; each (answered,)."""
        answered = np.asarray(clients, np.int64)
        self.loss[answered] = loss
        self.took_s[answered] = took_s

    def keep_warm(self, clients: ArrayLike) -> None:
        """Those, and nobody else, are at hand now."""
        self.warm[:] = False
        self.warm[np.asarray(clients, np.int64)] = True

    @property
    def nbytes(self) -> int:
        """What it takes, in bytes."""
        return sum(getattr(self, name).nbytes for name in self.__slots__)
