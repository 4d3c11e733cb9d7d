"""What one of `torch.optim`'s optimizers does, read of it once. Imports PyTorch.

An action has its rule and its settings alone (`disdel.runtimes.torch.optim`), so whatever else
stands in it is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from disdel.errors import UsageError
from disdel.runtimes.torch.optim import KINDS
from disdel.types.specs import OptimizerGroup

# PyTorch's types are not loaded.
Optimizer = Any

# Settings that say nothing of the update on a CPU.
_NO_MATTER = ("capturable", "differentiable")
_RATES_INSTEAD = "use --schedule cosine or linear, and --warmup"


def read_optimizer(
    optimizer: Optimizer, parameters: Mapping[str, Tensor]
) -> tuple[str, tuple[OptimizerGroup, ...]]:
    """What an optimizer does, by its name and settings.

    Args:
        optimizer: made for some or all of `parameters`.
        parameters: of the module, by name, of any shape.

    Raises:
        UsageError: it is of another kind, does more than its settings say, or updates parameters
            that are not the module's.
    """
    kind = type(optimizer)
    name = kind.__name__.lower()
    if not kind.__module__.startswith("torch.optim") or name not in KINDS:
        raise UsageError(
            f"the optimizer {kind.__module__}.{kind.__qualname__} cannot be used; of torch.optim, "
            f"{', '.join(known.title for known in KINDS.values())} can"
        )
    _check_nothing_hangs_on(optimizer)
    names = {id(parameter): own for own, parameter in parameters.items()}
    groups = []
    for group in optimizer.param_groups:
        if any(id(parameter) not in names for parameter in group["params"]):
            raise UsageError(
                "the optimizer updates parameters that are not trainable ones of the module; make "
                "it of those that it is given: def optimizer(parameters): …"
            )
        own = tuple(names[id(parameter)] for parameter in group["params"])
        # Whatever else a group has, as names of parameters, no step looks at.
        settings = {setting: group[setting] for setting in optimizer.defaults}
        groups.append(OptimizerGroup(parameters=own, settings=_settings(settings)))
    return name, tuple(groups)


def _check_nothing_hangs_on(optimizer: Optimizer) -> None:
    """Refuse schedulers, hooks, and state from elsewhere, which no action would have."""
    if any("initial_lr" in group for group in optimizer.param_groups):
        raise UsageError(
            "a learning-rate scheduler of PyTorch is attached to the optimizer, and actions do not "
            f"have it: leave it out, and {_RATES_INSTEAD}"
        )
    if "step" in vars(optimizer):
        raise UsageError("the optimizer's step was replaced, and actions take PyTorch's own")
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        raise UsageError(
            "the optimizer has hooks around its step, and actions do not have them: change "
            "gradients with hooks of the parameters, parameter.register_hook(…)"
        )
    # Adagrad's begins with its first update to come.
    if any(state.get("step", 1) != 0 for state in optimizer.state.values()):
        raise UsageError(
            "the optimizer has made steps already or has loaded a state, and a run begins its own: "
            "return it as it was made"
        )


def check_returned(returned: object, kind: str) -> None:
    """Whether the user's function returned an optimizer; `kind` says what it returned.

    Raises:
        UsageError: it did not.
    """
    from torch.optim.lr_scheduler import LRScheduler

    if isinstance(returned, torch.optim.Optimizer):
        return
    several = returned if isinstance(returned, tuple | list) else (returned,)
    more = ""
    if any(isinstance(one, LRScheduler) for one in several):
        more = f"; in place of a scheduler {_RATES_INSTEAD}"
    raise UsageError(f"optimizer returned {kind}, where one of torch.optim is needed{more}")


def _settings(given: Mapping[str, Any]) -> dict[str, float | bool]:
    settings: dict[str, float | bool] = {}
    for name, value in given.items():
        if name == "betas":
            settings |= {"beta1": float(value[0]), "beta2": float(value[1])}
        elif name not in _NO_MATTER and value is not None:
            settings[name] = value if isinstance(value, bool) else float(value)
    return settings
