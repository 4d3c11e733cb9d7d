"""Federated averaging (McMahan et al., 2017, https://arxiv.org/abs/1602.05629, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from disdel.strategies.base import Contribution, Strategy
from disdel.strategies.registry import register


@register
@dataclass(frozen=True)
class FedAvg(Strategy):
    """Every client trains in every round, and the next state is the mean of their states."""

    name = "fedavg"

    def participants(self, roster: Sequence[int], number: int, seed: int) -> Sequence[int]:  # noqa: ARG002
        return roster

    def weight(self, contribution: Contribution) -> float:
        return contribution.samples if self.average == "samples" else 1
