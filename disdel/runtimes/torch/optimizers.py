"""Keras's optimizers on PyTorch tensors. Imports PyTorch; import it lazily.

One name means one rule whatever the runtime: formulas and defaults are those of Keras 3, whose
epsilons stand in other places than those of `torch.optim`. Nor do the classes there serve: the
first that is made imports PyTorch's compiler, which takes a second and 70 MB of a container.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from disdel.errors import UsageError

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7


@dataclass(frozen=True, slots=True)
class StepUpdate:
    """What every rule is given; `step` counts from 1, and is the same for all of `parameters`."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    rate: float
    step: int


@dataclass(frozen=True, slots=True)
class Rule:
    """An update, its learning rate, and its slots by name with their first values.

    `run` takes a `StepUpdate` and, of each slot, the tensors of all parameters. `takes_sparse` is
    whether it may be given the gradients of sparse embeddings, as dense ones.
    """

    run: Callable[..., None]
    learning_rate: float
    slots: Mapping[str, float] = field(default_factory=dict)
    takes_sparse: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters by name, and the rule that updates them, in place."""

    rule: Rule
    parameters: Mapping[str, Tensor]


class TorchOptimizer:
    """An optimizer over groups of parameters.

    Args:
        groups: the parameters.
        counts_each: whether each parameter counts its own updates, as PyTorch has it, or all count
            the optimizer's, as Keras has it. It matters where some have no gradient at some steps.

    Attributes:
        parameters: all that it updates, in the order of the groups.
        step: how many updates were made, int64: () or, counted for each, (parameters,).
        slots: what it remembers of each parameter, by the names of slot and parameter.
    """

    def __init__(self, groups: Sequence[Group], *, counts_each: bool = False) -> None:
        self._groups = tuple(groups)
        self.parameters = [p for group in groups for p in group.parameters.values()]
        shape = (len(self.parameters),) if counts_each else ()
        self.step = torch.zeros(shape, dtype=torch.int64)
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

    def apply(self, gradients: Sequence[Tensor | None], rate_factor: float = 1.0) -> None:
        """Update the parameters at `rate_factor` times the learning rate.

        Args:
            gradients: one a parameter, of the same shape; those without one stay as they are, as
                does all that is remembered of them.
            rate_factor: of this update.
        """
        with torch.no_grad():
            given = torch.tensor([gradient is not None for gradient in gradients])
            self.step += given if self.step.dim() else 1
            left = zip(gradients, self.step.expand(len(gradients)).tolist(), strict=True)
            for group in self._groups:
                _update(group, islice(left, len(group.parameters)), self.slots, rate_factor)


def _update(
    group: Group,
    given: Iterable[tuple[Tensor | None, int]],
    slots: Mapping[str, Tensor],
    rate_factor: float,
) -> None:
    """Update a group for a gradient and a step's number of each of its parameters."""
    rule = group.rule
    alike: dict[int, list[tuple[str, Tensor]]] = {}
    for name, (gradient, step) in zip(group.parameters, given, strict=True):
        if gradient is not None:
            dense = _dense(gradient, name, group)
            alike.setdefault(step, []).append((name, dense))
    for step, members in alike.items():
        names, dense_ones = [name for name, _ in members], [gradient for _, gradient in members]
        parameters = [group.parameters[name] for name in names]
        rule.run(
            StepUpdate(parameters, dense_ones, rule.learning_rate * rate_factor, step),
            *([slots[f"{slot}/{name}"] for name in names] for slot in rule.slots),
        )


def _dense(gradient: Tensor, name: str, group: Group) -> Tensor:
    """A gradient laid out as its parameter.

    Raises:
        UsageError: the group's rule does not take it.
    """
    if not gradient.is_sparse:
        return _laid_out_as(gradient, group.parameters[name])
    if not group.rule.takes_sparse:
        raise UsageError(
            f"the gradient of {name} is sparse, which this optimizer does not take: leave "
            "sparse=True out of the embedding, or use SGD or Adagrad without weight decay"
        )
    return _laid_out_as(gradient.to_dense(), group.parameters[name])


def keras_rule(name: str, learning_rate: float | None) -> Rule:
    """The rule of a name of `disdel.types.OPTIMIZERS`; None leaves its own learning rate."""
    rule = _RULES[name]
    return rule if learning_rate is None else replace(rule, learning_rate=learning_rate)


def _laid_out_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Autograd lays a gradient out as it likes, and fused kernels go through memory in order."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _sgd(update: StepUpdate) -> None:
    for parameter, gradient in zip(update.parameters, update.gradients, strict=True):
        parameter.sub_(gradient, alpha=update.rate)


def _adam(update: StepUpdate, momentum: list[Tensor], velocity: list[Tensor]) -> None:
    _fused_adam(adam, 0.0, update, momentum, velocity)


def _adamw(update: StepUpdate, momentum: list[Tensor], velocity: list[Tensor]) -> None:
    _fused_adam(adamw, 0.004, update, momentum, velocity)


def _fused_adam(
    kernel: Callable[..., None],
    weight_decay: float,
    update: StepUpdate,
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


def steps_before(update: StepUpdate) -> list[Tensor]:
    """The counters for PyTorch's kernel: a scalar a parameter, which it counts up itself."""
    done = float(update.step - 1)
    count, device = len(update.parameters), update.parameters[0].device
    return list(torch.full((count,), done, device=device).unbind())


def _torch_epsilon(update: StepUpdate) -> float:
    # Keras adds epsilon before the bias correction of the velocity, PyTorch after it.
    return float(_EPSILON / math.sqrt(1 - _BETA_2**update.step))


def _nadam(update: StepUpdate, momentum: list[Tensor], velocity: list[Tensor]) -> None:
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


def _rmsprop(update: StepUpdate, velocity: list[Tensor]) -> None:
    for parameter, gradient, v in zip(update.parameters, update.gradients, velocity, strict=True):
        v.mul_(0.9).addcmul_(gradient, gradient, value=0.1)
        parameter.addcdiv_(gradient, (v + _EPSILON).sqrt_(), value=-update.rate)


def _adagrad(update: StepUpdate, accumulator: list[Tensor]) -> None:
    for parameter, gradient, a in zip(
        update.parameters, update.gradients, accumulator, strict=True
    ):
        a.addcmul_(gradient, gradient)
        parameter.addcdiv_(gradient, (a + _EPSILON).sqrt_(), value=-update.rate)


def _lion(update: StepUpdate, momentum: list[Tensor]) -> None:
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
