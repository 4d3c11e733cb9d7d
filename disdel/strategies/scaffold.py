"""SCAFFOLD (Karimireddy et al., 2020, https://arxiv.org/abs/1910.06378, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from disdel.strategies.base import Advanced, Block, ClientBlock, Contribution, Terms
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.types.arrays import Numbers
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class Scaffold(FedAvg):
    """Control variates correct each step of a client by where all clients go: g - c_i + c.

    Each client keeps c_i, the mean of its last round's gradients (option II), and the server c.
    All are 0 at first, and c moves by the changes of c_i summed over those who took part and
    divided by the number of all clients. The weights move by lr times the mean change.
    """

    name = "scaffold"
    kept: ClassVar = {"c": 0.0}
    own: ClassVar = {"c_i": 0.0}
    needs_sgd = True

    lr: Annotated[float, Setting("Learning rate of the server.", above=0, high=1000)] = 1.0

    def terms(self) -> Terms:
        return Terms(correction="c", own_correction="c_i")

    def sums(self, contribution: Contribution) -> Mapping[str, float]:
        assert contribution.rate is not None
        return {"steps": 1 / (contribution.steps * contribution.rate)}

    def numbers(self, contributions: Sequence[Contribution], clients: int) -> Mapping[str, float]:
        return {"took_part": len(contributions), "clients": clients}

    def advance(self, block: Block) -> Advanced:
        # What a client's c_i changes by, -c - change / (steps * rate), has no c_i in it.
        took_part, clients = block.numbers["took_part"], block.numbers["clients"]
        moved = -(took_part * block.kept["c"] + block.sums["steps"]) / clients
        step = self.lr * block.change
        return Advanced(block.before + step, {"c": block.kept["c"] + moved})

    def client_keeps(self, block: ClientBlock) -> Mapping[str, Numbers]:
        gradient = (block.before - block.after) / block.rate_sum
        return {"c_i": block.own["c_i"] - block.kept["c"] + gradient}
