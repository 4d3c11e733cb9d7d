"""FedAsync (Xie et al., 2019, https://arxiv.org/abs/1903.03934, algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from disdel.strategies.base import Advanced, Block, Contribution
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class FedAsync(FedAvg):
    """Each update is mixed into the server's state as it comes: (1 - a) * w + a * w_client.

    a is alpha times what is left of it at staleness s: all (`constant`), (1 + s)^-power
    (`polynomial`), or 1 / (slope * (s - after) + 1) behind `after` (`hinge`).
    """

    name = "fedasync"
    awaits_all = False
    mixes_states: ClassVar[bool] = True
    weighs = False
    buffer: ClassVar[int] = 1

    alpha: Annotated[float, Setting("Share of a fresh update.", above=0, high=1)] = 0.6
    decay: Literal["polynomial", "constant", "hinge"] = "polynomial"
    power: Annotated[float, Setting("Of the polynomial.", low=0, high=100)] = 0.5
    slope: Annotated[float, Setting("Of the hinge.", low=0, high=1e6)] = 10.0
    after: Annotated[int, Setting("Where the hinge is.", low=0, high=100_000)] = 4
    max_staleness: Annotated[
        int | None,
        Setting("States behind which an update is refused; none for any.", low=0, high=100_000),
    ] = None

    def weight(self, contribution: Contribution) -> float:
        return self.alpha * self.freshness(contribution)

    def freshness(self, contribution: Contribution) -> float:
        stale = contribution.staleness
        if self.decay == "polynomial":
            return float((1 + stale) ** -self.power)
        if self.decay == "hinge" and stale > self.after:
            return 1 / (self.slope * (stale - self.after) + 1)
        return 1.0

    def numbers(
        self,
        contributions: Sequence[Contribution],
        clients: int,  # noqa: ARG002
    ) -> Mapping[str, float]:
        [one] = contributions
        return {"share": self.weight(one)}

    def advance(self, block: Block) -> Advanced:
        return Advanced(block.before + block.numbers["share"] * block.change)
