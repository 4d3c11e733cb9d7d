"""What becomes of updates that nobody has asked to protect: they are added up, and that is all.

`worker/protecting.py` does more. It is imported where that is asked: a cold start waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from disdel.store.base import Store
from disdel.strategies.exact_sum import ExactSum
from disdel.types.arrays import Tensors


class Unprotected:
    """The updates of an activation, as they are.

    Attributes:
        is_secure: whether nobody but the client may see what it stores.
    """

    is_secure = False

    def new_sum(self, before: Tensors, exponent: int) -> ExactSum:
        """An empty sum of changes of the state `before`."""
        return ExactSum(before, exponent)

    def add(
        self,
        sum_: ExactSum,
        client: int,  # noqa: ARG002
        after: Tensors,
        weight: float,
        loss_sum: float,  # noqa: ARG002
    ) -> None:
        """Add a client's update as it may be seen.

        Raises:
            UpdateRefused: as `ExactSum.add`.
        """
        sum_.add(after, weight)

    def mask(self, sum_: ExactSum, clients: Sequence[int], store: Store) -> None:
        """Mask the sum of these clients' updates."""

    def sealed(self, client: int, key: str, state: bytes) -> bytes:  # noqa: ARG002
        """A client's state as it is stored under `key`, for itself alone."""
        return state

    def opened(self, client: int, key: str, text: bytes) -> bytes:  # noqa: ARG002
        """What was sealed."""
        return text


class UnprotectedSum:
    """A sum of updates that has neither masks nor noise to come."""

    def unmask(self, units: NDArray[np.int64], first: int) -> None:
        """Take the masks away from elements `first` onwards, (n,), in place."""

    def add_noise(self, units: NDArray[np.int64], first: int, exponent: int) -> None:
        """Add the noise of elements `first` onwards, (n,), in place."""
