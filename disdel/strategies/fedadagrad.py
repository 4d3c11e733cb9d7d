"""FedAdagrad (Reddi et al., 2021, https://arxiv.org/abs/2003.00295, algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from disdel.strategies.adaptive import Adaptive
from disdel.strategies.registry import register
from disdel.types.arrays import Numbers
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class FedAdagrad(Adaptive):
    """The squared changes add up: v = v + change^2. As in the paper, m is the change by default."""

    name = "fedadagrad"

    beta_1: Annotated[float, Setting("Share of m that stays.", low=0, below=1)] = 0.0

    def second_moment(self, before: Numbers, squared: Numbers) -> Numbers:
        return before + squared
