"""Keras's optimizers on PyTorch tensors. Imports PyTorch; import it lazily.

One name means one rule whatever the runtime: formulas and defaults are those of Keras 3, whose
epsilons stand in other places than those of `torch.optim`. Nor do the classes there serve: the
first that is made imports PyTorch's compiler, which takes a second and 70 MB of a container.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7


@dataclass(frozen=True, slots=True)
class Update:
    """What every rule is given; `step` counts from 1."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    rate: float
    step: int


@dataclass(frozen=True, slots=True)
class Rule:
    """An update, its learning rate, and its slots by name with their first values.

    `run` takes an `Update` and, of each slot, the tensors of all parameters.
    """

    run: Callable[..., None]
    learning_rate: float
    slots: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters by name, and the rule that updates them, in place."""

    rule: Rule
    parameters: Mapping[str, Tensor]


class TorchOptimizer:
    """An optimizer over groups of parameters.

    Attributes:
        parameters: all that it updates, in the order of the groups.
        step: how many updates were made, () int64.
        slots: what it remembers of each parameter, by the names of slot and parameter.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = tuple(groups)
        self.parameters = [p for group in groups for p in group.parameters.values()]
        self.step = torch.zeros((), dtype=torch.int64)
        self.slots = {
            name: torch.full_like(parameter, first) for name, parameter, first in self._first()
        }

    def _first(self) -> Iterator[tuple[str, Tensor, float]]:
        """Every slot's name, parameter and first value."""
        for group in self._groups:
            for slot, first in group.rule.slots.items():
                for name, parameter in group.parameters.items():
                    yield f"{slot}/{name}", parameter, first

    def restart(self) -> None:
        """Forget all updates."""
        self.step.zero_()
        for name, _, first in self._first():
            self.slots[name].fill_(first)

    def apply(self, gradients: Sequence[Tensor], rate_factor: float = 1.0) -> None:
        """Update the parameters for one gradient each, at `rate_factor` times the learning rate."""
        with torch.no_grad():
            self.step += 1
            left = map(_laid_out_as, gradients, self.parameters)
            for group in self._groups:
                rule, parameters = group.rule, list(group.parameters.values())
                alike = list(islice(left, len(parameters)))
                rate = rule.learning_rate * rate_factor
                rule.run(
                    Update(parameters, alike, rate, int(self.step)),
                    *(
                        [self.slots[f"{slot}/{name}"] for name in group.parameters]
                        for slot in rule.slots
                    ),
                )


def keras_rule(name: str, learning_rate: float | None) -> Rule:
    """The rule of a name of `disdel.types.OPTIMIZERS`; None leaves its own learning rate."""
    rule = _RULES[name]
    return rule if learning_rate is None else replace(rule, learning_rate=learning_rate)


def _laid_out_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Autograd lays a gradient out as it likes, and fused kernels go through memory in order."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _sgd(update: Update) -> None:
    for parameter, gradient in zip(update.parameters, update.gradients, strict=True):
        parameter.sub_(gradient, alpha=update.rate)


def _adam(update: Update, momentum: list[Tensor], velocity: list[Tensor]) -> None:
    _fused_adam(adam, 0.0, update, momentum, velocity)


def _adamw(update: Update, momentum: list[Tensor], velocity: list[Tensor]) -> None:
    _fused_adam(adamw, 0.004, update, momentum, velocity)


def _fused_adam(
    kernel: Callable[..., None],
    weight_decay: float,
    update: Update,
    momentum: list[Tensor],
    velocity: list[Tensor],
) -> None:
    kernel(
        update.parameters,
        update.gradients,
        momentum,
        velocity,
        [],
        steps_before(update),
        fused=True,
        amsgrad=False,
        beta1=_BETA_1,
        beta2=_BETA_2,
        lr=update.rate,
        weight_decay=weight_decay,
        eps=_torch_epsilon(update),
        maximize=False,
    )


def steps_before(update: Update) -> list[Tensor]:
    """The counters as PyTorch's kernel wants them: one a parameter, which it counts up itself."""
    done = float(update.step - 1)
    return [torch.full((), done, device=parameter.device) for parameter in update.parameters]


def _torch_epsilon(update: Update) -> float:
    # Keras adds epsilon before the bias correction of the velocity, PyTorch after it.
    return float(_EPSILON / math.sqrt(1 - _BETA_2**update.step))


def _nadam(update: Update, momentum: list[Tensor], velocity: list[Tensor]) -> None:
    now, after = _nadam_momentum(update.step), _nadam_momentum(update.step + 1)
    # After a few hundred steps the product vanishes, and only its first factors matter.
    product = math.prod(_nadam_momentum(step) for step in range(1, min(update.step, 1000) + 1))
    for parameter, gradient, m, v in zip(
        update.parameters, update.gradients, momentum, velocity, strict=True
    ):
        m.lerp_(gradient, 1 - _BETA_1)
        v.mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
        m_hat = m * (after / (1 - product * after)) + gradient * ((1 - now) / (1 - product))
        v_hat = v / (1 - _BETA_2**update.step)
        parameter.addcdiv_(m_hat, v_hat.sqrt_().add_(_EPSILON), value=-update.rate)


def _nadam_momentum(step: int) -> float:
    return float(_BETA_1 * (1 - 0.5 * 0.96**step))


def _rmsprop(update: Update, velocity: list[Tensor]) -> None:
    for parameter, gradient, v in zip(update.parameters, update.gradients, velocity, strict=True):
        v.mul_(0.9).addcmul_(gradient, gradient, value=0.1)
        parameter.addcdiv_(gradient, (v + _EPSILON).sqrt_(), value=-update.rate)


def _adagrad(update: Update, accumulator: list[Tensor]) -> None:
    for parameter, gradient, a in zip(
        update.parameters, update.gradients, accumulator, strict=True
    ):
        a.addcmul_(gradient, gradient)
        parameter.addcdiv_(gradient, (a + _EPSILON).sqrt_(), value=-update.rate)


def _lion(update: Update, momentum: list[Tensor]) -> None:
    for parameter, gradient, m in zip(update.parameters, update.gradients, momentum, strict=True):
        parameter.sub_(torch.lerp(m, gradient, 1 - _BETA_1).sign_(), alpha=update.rate)
        m.lerp_(gradient, 0.01)


_RULES = {
    "sgd": Rule(_sgd, 0.01),
    "adam": Rule(_adam, 0.001, {"momentum": 0.0, "velocity": 0.0}),
    "adamw": Rule(_adamw, 0.001, {"momentum": 0.0, "velocity": 0.0}),
    "nadam": Rule(_nadam, 0.001, {"momentum": 0.0, "velocity": 0.0}),
    "rmsprop": Rule(_rmsprop, 0.001, {"velocity": 0.0}),
    "adagrad": Rule(_adagrad, 0.001, {"accumulator": 0.1}),
    "lion": Rule(_lion, 0.001, {"momentum": 0.0}),
}
