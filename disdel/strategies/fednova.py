"""FedNova (Wang et al., 2020, https://arxiv.org/abs/2007.07481): clients of unequal steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from disdel.errors import UsageError
from disdel.strategies.base import Advanced, Block, Contribution, LocalSgd, Terms
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.types.setting import Setting


@register
@dataclass(frozen=True)
class FedNova(FedAvg):
    """Each change is divided by how far its steps go, and their mean goes as far as all of them do.

    With the shares p of the updates and a = |a_i|_1, the way that client i's steps go for gradients
    of 1 in units of the learning rate (their number, of plain SGD), the next weights are
    w + tau_eff * sum(p * change / a), with tau_eff = sum(p * a).
    """

    name = "fednova"
    needs_sgd = True

    mu: Annotated[float, Setting("Holds clients near the round's weights.", low=0, high=1e6)] = 0.0
    momentum: Annotated[
        float, Setting("That of the clients' SGD, which begins anew each round.", low=0, high=1)
    ] = 0.0

    def terms(self) -> Terms | None:
        return Terms(proximal=self.mu) if self.mu else None

    def weight(self, contribution: Contribution) -> float:
        return self.share(contribution) / self.way(contribution)

    def share(self, contribution: Contribution) -> float:
        """What an update counts for, however far its steps go; with samples, those of its own.

        By samples as often as they were seen, more epochs would count as more samples again.
        """
        if self.average == "samples":
            return contribution.samples / contribution.epochs
        return super().weight(contribution)

    def numbers(
        self,
        contributions: Sequence[Contribution],
        clients: int,  # noqa: ARG002
    ) -> Mapping[str, float]:
        ways = [self.way(one) for one in contributions]
        shares = [self.share(one) for one in contributions]
        total = sum(shares)
        tau = sum(p * a for p, a in zip(shares, ways, strict=True)) / total
        # The mean, whose weights are p / a, is divided by their sum.
        return {"scale": tau * sum(p / a for p, a in zip(shares, ways, strict=True)) / total}

    def advance(self, block: Block) -> Advanced:
        return Advanced(block.before + block.numbers["scale"] * block.change)

    def way(self, contribution: Contribution) -> float:
        """How far a client's steps go where each gradient is 1: its learning rate times |a_i|_1."""
        rate = contribution.rate or 1.0
        if not (self.mu or self.momentum):
            return rate * contribution.steps
        # Each step pulls back by mu what was gone, and goes on with the momentum of the last.
        pull = self.mu * rate
        gone = speed = 0.0
        for _ in range(contribution.steps):
            speed = self.momentum * speed + 1 - pull * gone
            gone += speed
        return rate * gone

    def check_sgd(self, sgd: LocalSgd) -> None:
        if sgd.momentum != self.momentum:
            raise UsageError(
                f"strategy fednova has momentum={self.momentum:g}, and the clients' SGD has "
                f"{sgd.momentum:g}: say --strategy fednova:momentum={sgd.momentum:g}"
            )
        if self.momentum and not sgd.restarts:
            raise UsageError(
                "strategy fednova takes the clients' momentum to begin anew each round: add "
                "--optimizer-state reset"
            )
        if (self.mu or self.momentum) and not sgd.is_constant:
            raise UsageError(
                "strategy fednova with mu or momentum needs a constant learning rate: leave "
                "--schedule and --warmup out"
            )
