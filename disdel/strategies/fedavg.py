"""Federated averaging (McMahan et al., 2017, https://arxiv.org/abs/1602.05629, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from disdel.strategies.base import Contribution, Strategy
from disdel.strategies.registry import register


@register
@dataclass(frozen=True)
class FedAvg(Strategy):
    """Every client trains in every round, and the next state is the mean of their states.

    An update weighs the samples that it has seen, 1, or the client's passes over its own samples,
    as in FLoX (Kotsehub et al., 2022, https://doi.org/10.1109/eScience55777.2022.00016).
    """

    name = "fedavg"

    def participants(self, roster: Sequence[int], number: int, seed: int) -> Sequence[int]:  # noqa: ARG002
        return roster

    def weight(self, contribution: Contribution) -> float:
        if not self.weighs:
            return 1.0
        weights = {
            "samples": contribution.samples,
            "equal": 1,
            "epochs": contribution.epochs,
        }
        return weights[self.average]
