"""`torch.optim`'s rules as they are there, for the user's own modules. Imports PyTorch.

Its classes are made once, on the controller's host (`disdel.runtimes.torch.optim_settings`).
Actions call the functions that stand behind them: the first instance of a class imports PyTorch's
compiler, which takes a second and 70 MB of a container.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.nadam import nadam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from disdel.runtimes.torch.optimizers import Rule, StepUpdate, steps_before

OptimSettings = Mapping[str, float | bool]

# Later factors of NAdam's product of momenta change nothing: it has vanished.
_NADAM_FACTORS = 1000


def torch_rule(name: str, settings: OptimSettings, learning_rate: float | None) -> Rule:
    """The rule of a group that was read of one of `KINDS`; None leaves its own learning rate."""
    kind = KINDS[name]
    given = dict(settings)
    rate = given.pop("lr")
    return Rule(
        partial(kind.run, given),
        rate if learning_rate is None else learning_rate,
        kind.slots(given),
        # Elsewhere PyTorch refuses them, or decays only what was looked up.
        takes_sparse=name in ("sgd", "adagrad") and not given["weight_decay"],
    )


def _sgd(
    settings: OptimSettings, update: StepUpdate, momentum_buffer: Sequence[Tensor] = ()
) -> None:
    # The first gradient is taken whole, whatever the dampening.
    fresh = update.step == 1 or not momentum_buffer
    buffers: list[Any] = [None] * len(update.parameters) if fresh else list(momentum_buffer)
    sgd(update.parameters, update.gradients, buffers, lr=update.rate, **settings)
    if fresh:
        for slot, buffer in zip(momentum_buffer, buffers, strict=False):
            slot.copy_(buffer)


def _adam(
    settings: OptimSettings,
    update: StepUpdate,
    exp_avg: list[Tensor],
    exp_avg_sq: list[Tensor],
    max_exp_avg_sq: Sequence[Tensor] = (),
) -> None:
    adam(
        update.parameters,
        update.gradients,
        exp_avg,
        exp_avg_sq,
        list(max_exp_avg_sq),
        steps_before(update),
        lr=update.rate,
        **_in_one_call(settings, update),
    )


def _in_one_call(settings: OptimSettings, update: StepUpdate) -> OptimSettings:
    """The settings with the kernel that updates all parameters at once, if they leave that open.

    PyTorch does not take it by itself on a CPU, where several operations a tensor take longer than
    a small step.
    """
    is_open = not {"fused", "foreach"} & settings.keys()
    on_cpu = update.parameters[0].device.type == "cpu"
    return {**settings, "fused": True} if is_open and on_cpu else settings


def _adamw(settings: OptimSettings, update: StepUpdate, *moments: list[Tensor]) -> None:
    _adam({**settings, "decoupled_weight_decay": True}, update, *moments)


def _rmsprop(
    settings: OptimSettings, update: StepUpdate, square_avg: list[Tensor], *others: list[Tensor]
) -> None:
    left = list(others)
    grad_avg = left.pop(0) if settings["centered"] else []
    momentum_buffer = left.pop(0) if settings["momentum"] else []
    rmsprop(
        update.parameters,
        update.gradients,
        square_avg,
        grad_avg,
        momentum_buffer,
        steps_before(update),
        lr=update.rate,
        **settings,
    )


def _adagrad(settings: OptimSettings, update: StepUpdate, total: list[Tensor]) -> None:
    known = {name: settings[name] for name in settings if name != "initial_accumulator_value"}
    steps = steps_before(update)
    adagrad(update.parameters, update.gradients, total, steps, lr=update.rate, **known)


def _nadam(
    settings: OptimSettings,
    update: StepUpdate,
    exp_avg: list[Tensor],
    exp_avg_sq: list[Tensor],
) -> None:
    # PyTorch keeps this product beside each parameter; it depends on the step alone.
    product = math.prod(
        settings["beta1"] * (1 - 0.5 * 0.96 ** (step * settings["momentum_decay"]))
        for step in range(1, min(update.step, _NADAM_FACTORS))
    )
    nadam(
        update.parameters,
        update.gradients,
        exp_avg,
        exp_avg_sq,
        [torch.tensor(float(product)) for _ in update.parameters],
        steps_before(update),
        lr=update.rate,
        **settings,
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of `torch.optim`: its name, its update, and the slots that its settings ask for."""

    title: str
    run: Callable[..., None]
    slots: Callable[[OptimSettings], dict[str, float]]


def _moments(settings: OptimSettings) -> dict[str, float]:
    slots = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
    return slots | ({"max_exp_avg_sq": 0.0} if settings.get("amsgrad") else {})


def _averages(settings: OptimSettings) -> dict[str, float]:
    wanted = (("grad_avg", "centered"), ("momentum_buffer", "momentum"))
    return {"square_avg": 0.0} | {slot: 0.0 for slot, setting in wanted if settings[setting]}


KINDS = {
    "sgd": Kind("SGD", _sgd, lambda s: {"momentum_buffer": 0.0} if s["momentum"] else {}),
    "adam": Kind("Adam", _adam, _moments),
    "adamw": Kind("AdamW", _adamw, _moments),
    "rmsprop": Kind("RMSprop", _rmsprop, _averages),
    "adagrad": Kind("Adagrad", _adagrad, lambda s: {"sum": s["initial_accumulator_value"]}),
    "nadam": Kind("NAdam", _nadam, _moments),
}
