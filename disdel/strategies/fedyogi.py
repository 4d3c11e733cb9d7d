"""FedYogi (Reddi et al., 2021, https://arxiv.org/abs/2003.00295, algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from disdel.strategies.adaptive import Adaptive
from disdel.strategies.registry import register
from disdel.types.arrays import Numbers
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class FedYogi(Adaptive):
    """v moves by a share of change^2: v = v - (1 - beta_2) * change^2 * sign(v - change^2)."""

    name = "fedyogi"

    beta_2: Annotated[float, Setting("How slowly v moves.", low=0, below=1)] = 0.99

    def second_moment(self, before: Numbers, squared: Numbers) -> Numbers:
        return before - (1 - self.beta_2) * squared * np.sign(before - squared)
