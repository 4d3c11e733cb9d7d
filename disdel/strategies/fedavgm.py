"""FedAvgM (Hsu et al., 2019, https://arxiv.org/abs/1909.06335): momentum on the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from disdel.strategies.base import Advanced, Block
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class FedAvgM(FedAvg):
    """The mean changes of the rounds add up: v = momentum * v + change; w = w + lr * v."""

    name = "fedavgm"
    kept: ClassVar = {"momentum": 0.0}
    is_outer = True

    lr: Annotated[float, Setting("Learning rate of the server.", above=0, high=1000)] = 1.0
    momentum: Annotated[float, Setting("Share of v that stays.", low=0, high=1)] = 0.9

    def advance(self, block: Block) -> Advanced:
        velocity = self.momentum * block.kept["momentum"] + block.change
        return Advanced(block.before + self.lr * velocity, {"momentum": velocity})
