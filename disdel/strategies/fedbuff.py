"""FedBuff (Nguyen et al., 2022, https://arxiv.org/abs/2106.06639, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from disdel.strategies.base import Advanced, Block, Contribution
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class FedBuff(FedAvg):
    """As soon as `buffer` updates have come, the mean of their changes is a step of the server.

    Where it is not said, these are half as many as there are containers, and at least two: the
    fewer updates make a step, the fewer are needed in all, but each step costs an average.

    A change is one from the state that its client began with, and counts (1 + s)^-power of its
    weight, s being the states that the server has made since. The mean is over what is left of all
    weights: what is stale counts less than what is fresh, and a buffer makes a whole step. As
    published, it is over the whole weights, and stale updates make a smaller step: `shrinks`.
    """

    name = "fedbuff"
    awaits_all = False

    buffer: Annotated[
        int | None,
        Setting(
            "Updates that make a step; none for half as many as containers.", low=1, high=100_000
        ),
    ] = None
    lr: Annotated[float, Setting("Learning rate of the server.", above=0, high=1000)] = 1.0
    power: Annotated[float, Setting("How fast stale updates lose weight.", low=0, high=100)] = 0.5
    max_staleness: Annotated[
        int | None,
        Setting("States behind which an update is refused; none for any.", low=0, high=100_000),
    ] = None
    shrinks: Annotated[
        bool, Setting("Whether stale updates make a smaller step, as published.")
    ] = False

    def weight(self, contribution: Contribution) -> float:
        return super().weight(contribution) * self.freshness(contribution)

    def freshness(self, contribution: Contribution) -> float:
        return float((1 + contribution.staleness) ** -self.power)

    @property
    def ages_alike(self) -> bool:
        kind = type(self)
        return kind.weight is FedBuff.weight and kind.freshness is FedBuff.freshness

    def numbers(
        self,
        contributions: Sequence[Contribution],
        clients: int,  # noqa: ARG002
    ) -> Mapping[str, float]:
        if not self.shrinks:
            return {"lr": self.lr}
        whole = sum(super(FedBuff, self).weight(one) for one in contributions)
        return {"lr": self.lr * sum(self.weight(one) for one in contributions) / whole}

    def advance(self, block: Block) -> Advanced:
        return Advanced(block.before + block.numbers["lr"] * block.change)
