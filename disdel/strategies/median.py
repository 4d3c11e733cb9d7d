"""The coordinate-wise median (Yin et al., 2018, https://arxiv.org/abs/1803.01498, algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass

from disdel.strategies.aggregation import median_of
from disdel.strategies.base import Geometry
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.types.arrays import Numbers


@register
@dataclass(frozen=True)
class Median(FedAvg):
    """Of each weight, the median over the updates; all count the same."""

    name = "median"
    sees_each = True
    weighs = False

    def combine(
        self,
        changes: Numbers,
        weights: Numbers,  # noqa: ARG002
        geometry: Geometry | None,  # noqa: ARG002
    ) -> Numbers:
        return median_of(changes)
