"""Networks of PyTorch, as `runtimes.runtime.Networks`. Imports PyTorch when called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from disdel.errors import UsageError
from disdel.models.given import given_as
from disdel.models.torch_files import (
    TorchFile,
    load_torch_network,
    read_torch_file,
    write_torch_file,
)
from disdel.models.user.bundled import bundled_module
from disdel.protocol.messages import DescribeReply, DescribeRequest, Network
from disdel.runtimes.base import Trainer
from disdel.runtimes.runtime import ModelFile, Predictor
from disdel.types.arrays import Array
from disdel.user_code.module import UserModule

# PyTorch's types are not loaded.
Module = Any

# Samples that a lazy module learns its shapes from.
_SHOWN = 2


def build_trainer(network: Network, samples: Array) -> Trainer:
    """As `Networks.build_trainer`."""
    from disdel.models.builtin.torch_models import TorchNetwork
    from disdel.runtimes.devices import choose_torch_device
    from disdel.runtimes.torch.optimizers import Group, TorchOptimizer, keras_rule
    from disdel.runtimes.torch.recipe import built_in_recipe
    from disdel.runtimes.torch.trainer import TorchTrainer, pin_threads, seed_all

    pin_threads(network.threads)
    device = choose_torch_device(network.gpu_memory_mb)
    seed_all(network.seed)
    if network.model.own is not None:
        from disdel.models.user.torch_model import own_torch_trainer

        return own_torch_trainer(network, network.model.own, samples[:_SHOWN], device)
    input_dtype = samples.dtype.name
    model = TorchNetwork(network.model, input_dtype=input_dtype).to(device)
    about = TorchFile(model=network.model, input_dtype=input_dtype)
    rule = keras_rule(network.model.optimizer(network.optimizer).name, network.learning_rate)
    return TorchTrainer(
        model,
        optimizer=TorchOptimizer([Group(rule, dict(model.named_parameters()))]),
        save=lambda path: write_torch_file(model.state_dict(), path, about),
        recipe=built_in_recipe(network.model),
        precision=network.precision,
    )


def load_predictor(path: Path, threads: int | None) -> Predictor:
    """As `Networks.load_predictor`."""
    import torch

    from disdel.runtimes.torch.recipe import built_in_recipe
    from disdel.runtimes.torch.trainer import pin_threads

    pin_threads(threads)
    about = read_torch_file(path)
    spec, code = about.model, bundled_module()
    network = load_torch_network(path, code).eval()
    if spec.own is not None and code is not None:
        from disdel.models.user.torch_model import recipe_of

        recipe = recipe_of(code, about)
    else:
        recipe = built_in_recipe(spec)

    def predict(x: Array) -> Array:
        if x.shape[1:] != spec.input_shape:
            raise UsageError(
                f"the model takes samples of shape {spec.input_shape}, not {x.shape[1:]}"
            )
        takes_integers = spec.own is not None and spec.own.takes_integers
        taken = given_as(x, "int64") if takes_integers else x
        with torch.no_grad():
            outputs = recipe.outputs(network, torch.from_numpy(taken))
            return np.asarray(recipe.predictions(outputs))

    return predict


def load_model(path: Path, code: UserModule | None) -> Module:
    """As `Networks.load_model`: a `torch.nn.Module`."""
    return load_torch_network(path, code)


def look_at(path: Path) -> ModelFile:
    """As `Networks.look_at`."""
    spec = read_torch_file(path).model
    return ModelFile(input_shape=spec.input_shape, spec=spec)


def describe(module: UserModule, request: DescribeRequest) -> DescribeReply:
    """As `Networks.describe`."""
    from disdel.models.user.describe_torch import describe_torch

    return describe_torch(module, request)
