"""FedAdam (Reddi et al., 2021, https://arxiv.org/abs/2003.00295, algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from disdel.strategies.adaptive import Adaptive
from disdel.strategies.registry import register
from disdel.types.arrays import Numbers
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class FedAdam(Adaptive):
    """A moving average of the squared changes: v = beta_2 * v + (1 - beta_2) * change^2."""

    name = "fedadam"

    beta_2: Annotated[float, Setting("Share of v that stays.", low=0, below=1)] = 0.99

    def second_moment(self, before: Numbers, squared: Numbers) -> Numbers:
        return self.beta_2 * before + (1 - self.beta_2) * squared
