"""Clipped updates (Sun et al., 2019, https://arxiv.org/abs/1911.07963, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from disdel.strategies.aggregation import median_of
from disdel.strategies.base import Geometry, mean_change
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.types.arrays import Numbers
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class NormClipping(FedAvg):
    """The weighted mean of the changes, each shortened to the length `bound` if it is longer.

    By default the bound is the median of the round's lengths, so that no client goes further than
    half of them do.
    """

    name = "norm-clipping"
    sees_each = True
    measures = True

    bound: Annotated[
        float | None, Setting("Greatest length; none for the median.", above=0, high=1e12)
    ] = None

    def combine(self, changes: Numbers, weights: Numbers, geometry: Geometry | None) -> Numbers:
        assert geometry is not None
        norms = geometry.norms
        bound = float(median_of(norms)) if self.bound is None else self.bound
        # What has not moved is not shortened.
        shares = np.minimum(1.0, np.divide(bound, norms, out=np.ones_like(norms), where=norms > 0))
        return mean_change(changes * shares[:, None], weights)
