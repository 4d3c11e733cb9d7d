"""FedProx (Li et al., 2020, https://arxiv.org/abs/1812.06127)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from disdel.strategies.base import Terms
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class FedProx(FedAvg):
    """Clients are held near the weights that their round began with, by mu / 2 * |w - w_round|^2.

    With mu = 0 it is federated averaging, to the bit.
    """

    name = "fedprox"

    mu: Annotated[float, Setting("How strongly they are held.", low=0, high=1e6)] = 0.01

    def terms(self) -> Terms | None:
        return Terms(proximal=self.mu) if self.mu else None
