"""Krum and multi-Krum (Blanchard et al., 2017, https://arxiv.org/abs/1703.02757)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt

from disdel.strategies.base import Geometry, mean_change, refused
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.types.arrays import Numbers
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class Krum(FedAvg):
    """The one update that lies nearest to its n - f - 2 nearest others; n is at least 2f + 3.

    Of updates that lie equally near, the client of the lowest number is taken.
    """

    name = "krum"
    sees_each = True
    measures = True
    weighs: ClassVar[bool] = False

    f: Annotated[int, Setting("Bad clients at most.", low=0, high=10_000)] = 1

    def check_updates(self, count: int) -> None:
        if count < 2 * self.f + 3:
            raise refused(
                self,
                f"with f={self.f} needs at least {2 * self.f + 3} updates a round, and there are "
                f"{count}: take more clients, or a lower f",
            )

    def combine(self, changes: Numbers, weights: Numbers, geometry: Geometry | None) -> Numbers:
        chosen = self._chosen(geometry)
        return mean_change(changes[chosen], weights[chosen])

    def counted(self, weights: Numbers, geometry: Geometry | None) -> Numbers:
        chosen, counted = self._chosen(geometry), np.zeros_like(weights)
        counted[chosen] = weights[chosen]
        return counted

    def _chosen(self, geometry: Geometry | None) -> npt.NDArray[np.int64]:
        assert geometry is not None
        updates = len(geometry.distances)
        return nearest(geometry.distances, updates - self.f - 2, self._count(updates))

    def _count(self, updates: int) -> int:  # noqa: ARG002
        return 1


@register
@dataclass(frozen=True)
class MultiKrum(Krum):
    """The weighted mean of the `keep` updates that lie nearest to others, as Krum measures it."""

    name: ClassVar[str] = "multi-krum"
    weighs: ClassVar[bool] = True

    keep: Annotated[
        int | None, Setting("Updates to average; none for all but f.", low=1, high=10_000)
    ] = None

    def check_updates(self, count: int) -> None:
        super().check_updates(count)
        if self._count(count) > count - self.f:
            raise refused(
                self,
                f"would keep {self.keep} of {count} updates, {self.f} of which may be bad: keep at "
                f"most {count - self.f}",
            )

    def _count(self, updates: int) -> int:
        return updates - self.f if self.keep is None else self.keep


def nearest(distances: Numbers, others: int, count: int) -> npt.NDArray[np.int64]:
    """The `count` updates, ascending, with the least sums of distances to `others` nearest ones.

    Args:
        distances: between any two, squared, (updates, updates).
        others: how many others count for each.
        count: how many are wanted; of equal ones, the first.
    """
    # The nearest of all is the update itself.
    scores = np.sort(distances, axis=1)[:, 1 : 1 + others].sum(axis=1)
    return np.sort(np.argsort(scores, kind="stable")[:count])
