"""Strategies that disdel does not have: each is one class, and nothing else knows of it."""

from dataclasses import dataclass
from typing import ClassVar

from disdel.strategies.base import Advanced, Terms
from disdel.strategies.fedavg import FedAvg
from disdel.strategies.registry import register
from disdel.strategies.scaffold import Scaffold


@register
@dataclass(frozen=True)
class FedProx(FedAvg):
    """Li et al., 2020, https://arxiv.org/abs/1812.06127: clients do not stray far in a round."""

    name = "test-fedprox"
    mu: float = 0.25

    def terms(self):
        return Terms(proximal=self.mu)


@register
@dataclass(frozen=True)
class FedProxStrong(FedProx):
    """So strong that a step of SGD at this rate undoes the one before."""

    RATE = 0.02

    name = "test-fedprox-strong"
    mu: float = 1 / RATE


@register
@dataclass(frozen=True)
class ServerMomentum(FedAvg):
    """FedAvgM (Hsu et al., 2019, https://arxiv.org/abs/1909.06335)."""

    name = "test-momentum"
    kept: ClassVar = {"momentum": 0.0}
    beta: float = 0.5

    def advance(self, block):
        momentum = self.beta * block.kept["momentum"] + (block.mean - block.before)
        return Advanced(block.before + momentum, {"momentum": momentum})


@register
@dataclass(frozen=True)
class Hurried(FedAvg):
    """The last round's direction is added to the gradients, as in FedCM."""

    name = "test-hurried"
    kept: ClassVar = {"pull": 0.0}

    def terms(self):
        return Terms(correction="pull")

    def advance(self, block):
        return Advanced(block.mean, {"pull": (block.before - block.mean) / 2})


@register
@dataclass(frozen=True)
class InTurn(FedAvg):
    """One client a round."""

    name = "test-in-turn"

    def participants(self, roster, number, seed):
        return [roster[(number + seed - 1) % len(roster)]]


@register
@dataclass(frozen=True)
class EvenClients(FedAvg):
    """Every other client, the same ones in each round."""

    name = "test-even-clients"

    def participants(self, roster, number, seed):
        return [client for client in roster if client % 2 == 0]


@register
@dataclass(frozen=True)
class Strangers(FedAvg):
    """Chooses somebody who is not there."""

    name = "test-strangers"

    def participants(self, roster, number, seed):
        return [*roster, 99]


@register
@dataclass(frozen=True)
class ScaffoldOfEvenClients(Scaffold):
    """Every other client; those between never take part."""

    name = "test-scaffold-of-even-clients"

    def participants(self, roster, number, seed):
        return [client for client in roster if client % 2 == 0]
