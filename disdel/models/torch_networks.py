"""Networks of PyTorch, as `runtimes.runtime.Networks`. Imports PyTorch when called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from disdel.errors import UsageError
from disdel.models.given import given_as
from disdel.models.torch_files import load_torch_network, read_torch_file
from disdel.models.user.bundled import bundled_module
from disdel.protocol.messages import Network
from disdel.runtimes.base import Trainer
from disdel.runtimes.runtime import ModelFile, Predictor
from disdel.types.arrays import Array
from disdel.types.specs import ModelSpec
from disdel.user_code.module import UserModule

if TYPE_CHECKING:
    from disdel.models.torch_made import TorchMade

# PyTorch's types are not loaded.
Module = Any

# Samples that a lazy module learns its shapes from.
_SHOWN = 2


def build_trainer(network: Network, samples: Array) -> Trainer:
    """As `Networks.build_trainer`; samples as stored."""
    from disdel.models.torch_made import trainer_of
    from disdel.runtimes.devices import choose_torch_device
    from disdel.runtimes.torch.trainer import pin_threads, seed_all

    pin_threads(network.threads)
    device = choose_torch_device(network.gpu_memory_mb)
    seed_all(network.seed)
    spec = network.model
    return trainer_of(
        _made(spec, samples[:_SHOWN], device),
        spec,
        optimizer=network.optimizer,
        learning_rate=network.learning_rate,
        precision=network.precision or "float32",
    )


def _made(spec: ModelSpec, samples: Array, device: Any) -> TorchMade:
    """What a network is made of; all else is in its description."""
    if spec.code is not None:
        from disdel.models.user.torch_model import bundled_network

        return bundled_network(spec, spec.code, samples, device)
    from disdel.models.builtin.torch_models import TorchNetwork
    from disdel.models.torch_made import TorchMade
    from disdel.runtimes.torch.recipe import built_in_recipe

    return TorchMade(TorchNetwork(spec).to(device), built_in_recipe(spec))


def load_predictor(path: Path, threads: int | None) -> Predictor:
    """As `Networks.load_predictor`.

    Raises:
        UsageError: the file is no model.
    """
    import torch

    from disdel.runtimes.torch.trainer import pin_threads

    pin_threads(threads)
    spec, code = read_torch_file(path), bundled_module()
    network = load_torch_network(path, code).eval()
    if spec.code is not None and code is not None:
        from disdel.models.user.torch_model import recipe_of

        recipe = recipe_of(code, spec)
    else:
        from disdel.runtimes.torch.recipe import built_in_recipe

        recipe = built_in_recipe(spec)

    def predict(x: Array) -> Array:
        if x.shape[1:] != spec.input_shape:
            raise UsageError(
                f"the model takes samples of shape {spec.input_shape}, not {x.shape[1:]}"
            )
        taken = given_as(x, "int64") if spec.takes_integers else x
        with torch.no_grad():
            outputs = recipe.outputs(network, torch.from_numpy(taken))
            return np.asarray(recipe.predictions(outputs))

    return predict


def load_model(path: Path, code: UserModule | None) -> Module:
    """As `Networks.load_model`: a `torch.nn.Module`."""
    return load_torch_network(path, code)


def look_at(path: Path) -> ModelFile:
    """As `Networks.look_at`."""
    spec = read_torch_file(path)
    return ModelFile(input_shape=spec.input_shape, spec=spec)
