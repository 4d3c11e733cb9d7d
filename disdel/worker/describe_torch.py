"""Try out the user's own PyTorch module, and say what it is. Imports PyTorch."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from disdel.arrays import Array
from disdel.catalog.models.torch_files import TorchFile, are_images, load_torch_network
from disdel.training.torch_recipe import TorchRecipe
from disdel.types import ModelFacts, ModelSpec, OwnModel, Precision
from disdel.user_module import UserModule
from disdel.wire import DescribeReply, DescribeRequest
from disdel.worker.own_code import look_like_probabilities, trial_samples, trial_targets
from disdel.worker.own_torch import (
    Built,
    build_own,
    own_optimizer,
    own_recipe,
    own_trainer,
    trainable_parameters,
)

# What may stand behind a softmax or a sigmoid and leaves its values as they are.
_SHAPING = ("View", "Unsafe", "Reshape", "Squeeze", "Unsqueeze", "Alias")


def describe_torch(module: UserModule, request: DescribeRequest) -> DescribeReply:
    """The network that `request` names.

    Raises:
        UsageError: it cannot be built, trained or saved; the message shows the user's own line.
    """
    built = build_own(module, request.input_shape, request.input_dtype, request.classes)
    images = are_images(request.input_shape, request.input_dtype)
    samples = torch.from_numpy(trial_samples(request))
    # Whether they are probabilities is what its outputs are to tell.
    recipe = own_recipe(module, built.target, images=images, probabilities=False)
    outputs = module.guarded(lambda: recipe.outputs(built.made, samples))
    optimizer, groups = own_optimizer(module, built.made)
    own = OwnModel(
        code=request.code,
        runtime="torch",
        facts=module.guarded(lambda: _facts(built, recipe, samples)),
        gives_probabilities=_are_probabilities(built, outputs),
        optimizer=optimizer,
        optimizer_groups=groups,
    )
    spec = ModelSpec(
        name=request.code.entry,
        input_shape=request.input_shape,
        classes=request.classes,
        target=built.target,
        own=own,
    )
    about = TorchFile(model=spec, input_dtype=request.input_dtype)
    _try_out(module, built, about, samples.numpy(), request.precision)
    return DescribeReply(target=built.target, own=own)


def _are_probabilities(built: Built, outputs: Tensor) -> bool:
    """Whether outputs come from a softmax (of one: a sigmoid), or look like those of one."""
    step = outputs.grad_fn
    while step is not None and step.name().startswith(_SHAPING):
        step = step.next_functions[0][0]
    last = "Sigmoid" if built.target == "binary" else "Softmax"
    if step is not None and step.name().startswith(last):
        return built.target != "number"
    return built.target == "class" and look_like_probabilities(outputs.detach().numpy())


def _try_out(
    module: UserModule, built: Built, about: TorchFile, samples: Array, precision: Precision
) -> None:
    """Train a step, go on from its state, score, save and load, as actions would.

    Raises:
        UsageError: one of these failed.
    """
    y = trial_targets(about.model.target, about.model.classes)
    trainer = own_trainer(
        module, built, about, optimizer=None, learning_rate=None, precision=precision
    )

    def once() -> None:
        trainer.train(samples[np.newaxis], y[np.newaxis])
        trainer.load_state(trainer.state())
        trainer.score(samples, y)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{trainer.model_suffix}"
            trainer.save_model(path)
            load_torch_network(path, module)

    module.guarded(once)


@dataclass(slots=True)
class _Seen:
    """The outputs of modules without modules inside, in elements, and what is kept of a step.

    Attributes:
        outputs: elements of each, in the order of the calls.
        hidden: multiply-adds that PyTorch's counter does not see.
        kept: bytes of the tensors that the backward pass needs, by where they lie.
        inside: where parameters, buffers and samples lie, which are there anyway.
    """

    inside: set[int]
    outputs: list[int] = field(default_factory=list)
    hidden: int = 0
    kept: dict[int, Tensor] = field(default_factory=dict)

    def called(self, module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor) and not any(True for _ in module.children()):
            self.outputs.append(first.numel())
        if isinstance(module, nn.LSTM):
            matrices = sum(p.numel() for p in module.parameters() if p.dim() > 1)
            self.hidden += matrices * math.prod(inputs[0].shape[:-1])

    def keep(self, tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in self.inside:
            self.kept[place] = tensor
        return tensor


def _facts(built: Built, recipe: TorchRecipe, stored: Tensor) -> ModelFacts:
    """Sizes of the module, by a step on some samples as stored."""
    made, count = built.made, len(stored)
    made.train()
    x = recipe.preprocess(recipe.inputs(stored))
    anyway = [x, *made.parameters(), *made.buffers()]
    seen = _Seen({tensor.untyped_storage().data_ptr() for tensor in anyway})
    calls = nn.modules.module.register_module_forward_hook(seen.called)
    try:
        with (
            FlopCounterMode(display=False) as counter,
            torch.autograd.graph.saved_tensors_hooks(seen.keep, lambda tensor: tensor),
        ):
            made(x)
    finally:
        calls.remove()
    kept = sum(t.numel() * t.element_size() for t in seen.kept.values())
    sizes = [x.numel(), *seen.outputs, *(t.numel() for t in seen.kept.values())]
    parameters = sum(p.numel() for p in trainable_parameters(made).values())
    multiply_adds = (counter.get_total_flops() // 2 + seen.hidden) // count
    return ModelFacts(
        parameters=parameters,
        activations=x.numel() // count + math.ceil(kept / 4 / count),
        outputs=math.ceil(sum(seen.outputs) / count),
        largest=math.ceil(max(sizes) / count),
        layers=len(seen.outputs),
        # Of modules that compute in their own way, each weight is used once.
        multiply_adds=max(multiply_adds, parameters),
    )
