"""A PyTorch module that is made, whoever wrote it, and its trainer. Imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from disdel.models.torch_files import write_torch_file
from disdel.runtimes.torch.optim import torch_rule
from disdel.runtimes.torch.optimizers import Group, TorchOptimizer, keras_rule
from disdel.runtimes.torch.recipe import TorchModel, TorchRecipe
from disdel.runtimes.torch.trainer import TorchTrainer
from disdel.types.names import Precision
from disdel.types.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class TorchMade:
    """A module with fresh weights, where it computes, and how it is trained and scored."""

    module: TorchModel
    recipe: TorchRecipe


def trainable_parameters(module: TorchModel) -> dict[str, Tensor]:
    """By name, of any shape; those that several modules share have the first of their names."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def trainer_of(
    made: TorchMade,
    spec: ModelSpec,
    *,
    optimizer: str | None,
    learning_rate: float | None,
    precision: Precision,
) -> TorchTrainer:
    """The trainer of a module.

    Args:
        made: the module.
        spec: its description.
        optimizer: the one that is asked for; None for the network's own.
        learning_rate: None for the optimizer's.
        precision: what steps compute in.
    """
    trainable = trainable_parameters(made.module)
    chosen = spec.optimizer(optimizer)
    groups = [
        Group(
            torch_rule(chosen.name, group.settings, learning_rate),
            {name: trainable[name] for name in group.parameters},
        )
        for group in chosen.groups
    ] or [Group(keras_rule(chosen.name, learning_rate), trainable)]
    return TorchTrainer(
        made.module,
        optimizer=TorchOptimizer(groups, counts_each=bool(chosen.groups)),
        recipe=made.recipe,
        save=lambda path: write_torch_file(made.module.state_dict(), path, spec),
        precision=precision,
        # No built-in network has a layer that draws.
        takes_seeds=spec.code is not None,
    )
