"""What FedAdagrad, FedAdam and FedYogi share (Reddi et al., 2021, algorithm 2).

https://arxiv.org/abs/2003.00295. As in the paper, the second moment begins at tau squared, and
neither moment is corrected for its beginning.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from disdel.strategies.base import Advanced, Block
from disdel.strategies.fedavg import FedAvg
from disdel.types.arrays import Numbers
from disdel.types.setting import Setting


@dataclass(frozen=True)
class Adaptive(FedAvg):
    """A server's optimizer with a step size for each weight: w = w + lr * m / (sqrt(v) + tau)."""

    kept: ClassVar = {"m": 0.0, "v": 0.0}
    is_outer = True

    lr: Annotated[float, Setting("Learning rate of the server.", above=0, high=1000)] = 0.1
    beta_1: Annotated[float, Setting("Share of m that stays.", low=0, below=1)] = 0.9
    tau: Annotated[
        float, Setting("Keeps small changes small; v begins at its square.", above=0, high=1000)
    ] = 1e-3

    @abstractmethod
    def second_moment(self, before: Numbers, squared: Numbers) -> Numbers:
        """V of a round, of the last one's and of the squared change."""

    def first(self, name: str) -> float:
        return self.tau**2 if name == "v" else 0.0

    def advance(self, block: Block) -> Advanced:
        m = self.beta_1 * block.kept["m"] + (1 - self.beta_1) * block.change
        v = self.second_moment(block.kept["v"], block.change**2)
        return Advanced(block.before + self.lr * m / (np.sqrt(v) + self.tau), {"m": m, "v": v})
