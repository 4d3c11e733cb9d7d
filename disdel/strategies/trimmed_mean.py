"""The trimmed mean (Yin et al., 2018, https://arxiv.org/abs/1803.01498, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from disdel.strategies.base import Geometry, refused
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.types.arrays import Numbers
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class TrimmedMean(FedAvg):
    """Of each weight, the mean over the updates without the lowest and the highest share `beta`.

    All that are left count the same.
    """

    name = "trimmed-mean"
    sees_each = True
    weighs = False

    beta: Annotated[
        float, Setting("Share of the updates cut off at each end.", above=0, high=0.5)
    ] = 0.2

    def check_updates(self, count: int) -> None:
        cut = self._cut(count)
        if cut < 1:
            raise refused(
                self,
                f"with beta={self.beta:g} trims nothing of {count} updates: it needs at least "
                f"{int(np.ceil(1 / self.beta))}, or a higher beta",
            )
        if 2 * cut >= count:
            raise refused(
                self, f"with beta={self.beta:g} leaves nothing of {count} updates: lower beta"
            )

    def combine(
        self,
        changes: Numbers,
        weights: Numbers,  # noqa: ARG002
        geometry: Geometry | None,  # noqa: ARG002
    ) -> Numbers:
        cut = self._cut(len(changes))
        kept = np.sort(changes, axis=0)[cut : len(changes) - cut]
        return np.asarray(kept.mean(axis=0))

    def _cut(self, count: int) -> int:
        # 0.1 of 30 are 3, and not the 2 of a product that is rounded down.
        return int(self.beta * count + 1e-9)
