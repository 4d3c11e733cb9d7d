"""Keras's optimizers on PyTorch tensors. Imports PyTorch; import it lazily.

One name means one rule whatever the runtime: formulas and defaults are those of Keras 3, whose
epsilons stand in other places than those of `torch.optim`. Nor do the classes there serve: the
first that is made imports PyTorch's compiler, which takes a second and 70 MB of a container.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7


class TorchOptimizer:
    """An optimizer over a list of parameters.

    Args:
        name: a name of `disdel.types.OPTIMIZERS`.
        parameters: what it updates, in place.
        learning_rate: None for the optimizer's own default.

    Attributes:
        step: how many updates were made, () int64.
        slots: what it remembers of each parameter, by name.
    """

    def __init__(
        self, name: str, parameters: Sequence[Tensor], learning_rate: float | None
    ) -> None:
        self._rule = _RULES[name]
        self._parameters = list(parameters)
        self._learning_rate = self._rule.learning_rate if learning_rate is None else learning_rate
        self.step = torch.zeros((), dtype=torch.int64)
        self.slots = {
            slot: [torch.full_like(parameter, first) for parameter in self._parameters]
            for slot, first in self._rule.slots.items()
        }

    def restart(self) -> None:
        """Forget all updates."""
        self.step.zero_()
        for slot, first in self._rule.slots.items():
            for value in self.slots[slot]:
                value.fill_(first)

    def apply(self, gradients: Sequence[Tensor], rate_factor: float = 1.0) -> None:
        """Update the parameters for one gradient each, at `rate_factor` times the learning rate."""
        with torch.no_grad():
            self.step += 1
            alike = list(map(_laid_out_as, gradients, self._parameters))
            rate = self._learning_rate * rate_factor
            update = _Update(self._parameters, alike, rate, int(self.step))
            self._rule.run(update, *self.slots.values())


def _laid_out_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Autograd lays a gradient out as it likes, and fused kernels go through memory in order."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


@dataclass(frozen=True, slots=True)
class _Update:
    """What every rule is given; `step` counts from 1."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    rate: float
    step: int


@dataclass(frozen=True, slots=True)
class _Rule:
    """An update, Keras's learning rate for it, and its slots by name with their first values."""

    run: Callable[..., None]
    learning_rate: float
    slots: Mapping[str, float] = field(default_factory=dict)


def _sgd(update: _Update) -> None:
    for parameter, gradient in zip(update.parameters, update.gradients, strict=True):
        parameter.sub_(gradient, alpha=update.rate)


def _adam(update: _Update, momentum: list[Tensor], velocity: list[Tensor]) -> None:
    _fused_adam(adam, 0.0, update, momentum, velocity)


def _adamw(update: _Update, momentum: list[Tensor], velocity: list[Tensor]) -> None:
    _fused_adam(adamw, 0.004, update, momentum, velocity)


def _fused_adam(
    kernel: Callable[..., None],
    weight_decay: float,
    update: _Update,
    momentum: list[Tensor],
    velocity: list[Tensor],
) -> None:
    kernel(
        update.parameters,
        update.gradients,
        momentum,
        velocity,
        [],
        _before(update),
        fused=True,
        amsgrad=False,
        beta1=_BETA_1,
        beta2=_BETA_2,
        lr=update.rate,
        weight_decay=weight_decay,
        eps=_torch_epsilon(update),
        maximize=False,
    )


def _before(update: _Update) -> list[Tensor]:
    """The counters as PyTorch's kernel wants them: one a parameter, which it counts up itself."""
    done = float(update.step - 1)
    return [torch.full((), done, device=parameter.device) for parameter in update.parameters]


def _torch_epsilon(update: _Update) -> float:
    # Keras adds epsilon before the bias correction of the velocity, PyTorch after it.
    return float(_EPSILON / math.sqrt(1 - _BETA_2**update.step))


def _nadam(update: _Update, momentum: list[Tensor], velocity: list[Tensor]) -> None:
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


def _rmsprop(update: _Update, velocity: list[Tensor]) -> None:
    for parameter, gradient, v in zip(update.parameters, update.gradients, velocity, strict=True):
        v.mul_(0.9).addcmul_(gradient, gradient, value=0.1)
        parameter.addcdiv_(gradient, (v + _EPSILON).sqrt_(), value=-update.rate)


def _adagrad(update: _Update, accumulator: list[Tensor]) -> None:
    for parameter, gradient, a in zip(
        update.parameters, update.gradients, accumulator, strict=True
    ):
        a.addcmul_(gradient, gradient)
        parameter.addcdiv_(gradient, (a + _EPSILON).sqrt_(), value=-update.rate)


def _lion(update: _Update, momentum: list[Tensor]) -> None:
    for parameter, gradient, m in zip(update.parameters, update.gradients, momentum, strict=True):
        parameter.sub_(torch.lerp(m, gradient, 1 - _BETA_1).sign_(), alpha=update.rate)
        m.lerp_(gradient, 0.01)


_RULES = {
    "sgd": _Rule(_sgd, 0.01),
    "adam": _Rule(_adam, 0.001, {"momentum": 0.0, "velocity": 0.0}),
    "adamw": _Rule(_adamw, 0.001, {"momentum": 0.0, "velocity": 0.0}),
    "nadam": _Rule(_nadam, 0.001, {"momentum": 0.0, "velocity": 0.0}),
    "rmsprop": _Rule(_rmsprop, 0.001, {"velocity": 0.0}),
    "adagrad": _Rule(_adagrad, 0.001, {"accumulator": 0.1}),
    "lion": _Rule(_lion, 0.001, {"momentum": 0.0}),
}
