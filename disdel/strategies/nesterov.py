"""DiLoCo's outer optimizer (Douillard et al., 2023, https://arxiv.org/abs/2311.08105)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from disdel.strategies.base import Advanced, Block
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class Nesterov(FedAvg):
    """SGD with Nesterov momentum on the averaged difference, as PyTorch writes it.

    v = momentum * v + change; w = w + lr * (change + momentum * v).
    """

    name = "nesterov"
    kept: ClassVar = {"momentum": 0.0}
    is_outer = True

    lr: Annotated[float, Setting("Learning rate of the server.", above=0, high=1000)] = 0.7
    momentum: Annotated[float, Setting("Share of v that stays.", low=0, high=1)] = 0.9

    def advance(self, block: Block) -> Advanced:
        velocity = self.momentum * block.kept["momentum"] + block.change
        step = block.change + self.momentum * velocity
        return Advanced(block.before + self.lr * step, {"momentum": velocity})
