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
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from disdel.models.torch_files import are_images, load_torch_network
from disdel.models.torch_made import TorchMade, trainable_parameters, trainer_of
from disdel.models.user.bundled import (
    Trial,
    look_like_probabilities,
    loss_spec,
    preprocessing_of,
)
from disdel.models.user.torch_losses import check_is_mean
from disdel.models.user.torch_model import (
    Built,
    build_own,
    describe_optimizer,
    own_recipe,
    recipe_of,
)
from disdel.protocol.messages import DescribeReply, DescribeRequest
from disdel.runtimes.torch.recipe import TorchModel, TorchRecipe
from disdel.types.names import Precision
from disdel.types.specs import ModelFacts, ModelSpec
from disdel.user_code.module import UserModule

# What may stand behind a softmax or a sigmoid and leaves its values as they are.
_SHAPING = ("View", "Unsafe", "Reshape", "Squeeze", "Unsqueeze", "Alias")
# Samples of a pass that is computed for its sizes alone.
_LOOKED_AT = 2


def describe_torch(module: UserModule, request: DescribeRequest) -> DescribeReply:
    """The network that `request` names.

    Raises:
        UsageError: it cannot be built, trained or saved; the message shows the user's own line.
    """
    trial = Trial.read(request)
    [samples], [target] = request.features, request.targets
    built = build_own(module, trial.few(), target, samples.kind)
    images = are_images(samples.shape, samples.dtype)
    # Whether they are probabilities is what its outputs are to tell.
    recipe = own_recipe(
        module,
        built.learns,
        images=images,
        probabilities=False,
        takes_integers=built.takes_integers,
        label_shape=target.shape,
    )
    if module.attribute("loss") is not None:
        labels = recipe.labels(torch.from_numpy(trial.y[: len(built.outputs)]))
        wanted = recipe.wanted(labels, built.outputs)
        where = module.place_of("loss")
        module.guarded(lambda: check_is_mean(where, recipe.loss, built.outputs, wanted))
    stored = torch.from_numpy(trial.x[: trial.batch_size])
    step = module.guarded(lambda: _measured(built.made, recipe, stored))
    spec = ModelSpec(
        name=request.code.entry,
        features=request.features,
        targets=request.targets,
        learns=built.learns,
        gives_probabilities=_are_probabilities(built, step.last),
        takes_integers=built.takes_integers,
        facts=step.facts,
        default_optimizer=describe_optimizer(module, built.made),
        loss=loss_spec(module.attribute("loss"), built.learns),
        metrics=tuple(recipe.metrics),
        preprocessing=preprocessing_of(module),
        augments=recipe.augment is not None,
        code=request.code,
        home="torch",
    )
    _try_out(module, built, spec, trial.batch(step.facts.activations), request.precision)
    return DescribeReply(model=spec)


def _are_probabilities(built: Built, last: str | None) -> bool:
    """Whether outputs come from a softmax (of one: a sigmoid), or look like those of one."""
    if last is not None and last.startswith("Sigmoid" if built.learns == "binary" else "Softmax"):
        return built.learns != "number"
    return built.learns == "class" and look_like_probabilities(built.outputs.movedim(1, -1).numpy())


def _try_out(
    module: UserModule, built: Built, spec: ModelSpec, trial: Trial, precision: Precision
) -> None:
    """Train a step, go on from its state, score, save and load, as actions would.

    Raises:
        UsageError: one of these failed.
    """
    made = TorchMade(built.made, recipe_of(module, spec))
    trainer = trainer_of(made, spec, optimizer=None, learning_rate=None, precision=precision)

    def once() -> None:
        trainer.train(trial.x[np.newaxis], trial.y[np.newaxis])
        trainer.load_state(trainer.state())
        trainer.score(trial.x, trial.y)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{trainer.model_suffix}"
            trainer.save_model(path)
            load_torch_network(path, module)

    module.guarded(once)


@dataclass(slots=True)
class _Seen:
    """The outputs of modules without modules inside, in elements, and what is kept of a step.

    Attributes:
        inside: where parameters, buffers and samples lie, which are there anyway.
        outputs: elements of each, in the order of the calls.
        hidden: multiply-adds that PyTorch's counter does not see.
        kept: the tensors that the backward pass needs, by where they lie.
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
        place = _place(tensor)
        if place not in self.inside:
            self.kept[place] = tensor
        return tensor


def _place(tensor: Tensor) -> int:
    """Where a tensor's values lie, or would; sparse ones lie in several places."""
    return id(tensor) if tensor.is_sparse else int(tensor.untyped_storage()._cdata)


@dataclass(frozen=True, slots=True)
class _Step:
    """What a forward pass shows of a module: its sizes, and what its output was made by last."""

    facts: ModelFacts
    last: str | None


def _measured(made: TorchModel, recipe: TorchRecipe, stored: Tensor) -> _Step:
    """A module's sizes, of a batch as stored; computed without values where it can be.

    Raises:
        Exception: whatever the module raises.
    """
    state = {name: t.clone() for name, t in made.named_buffers()}
    made.train()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            tensors = (*made.named_parameters(), *made.named_buffers())
            fake = {name: mode.from_tensor(tensor) for name, tensor in tensors}
            return _passed(made, recipe, mode.from_tensor(stored), fake)
    except Exception:
        # It looks at values, which then takes the memory of a pass.
        return _passed(made, recipe, stored[:_LOOKED_AT], {})
    finally:
        for name, buffer in made.named_buffers():
            buffer.copy_(state[name])


def _passed(
    made: TorchModel, recipe: TorchRecipe, stored: Tensor, tensors: dict[str, Tensor]
) -> _Step:
    """As `_measured`, with `tensors` in the place of the module's of those names."""
    count, x = len(stored), recipe.preprocess(recipe.inputs(stored))
    own = tensors.values() or (*made.parameters(), *made.buffers())
    seen = _Seen({_place(tensor) for tensor in (x, *own)})
    calls = nn.modules.module.register_module_forward_hook(seen.called)
    try:
        with (
            FlopCounterMode(display=False) as counter,
            torch.autograd.graph.saved_tensors_hooks(seen.keep, lambda tensor: tensor),
        ):
            outputs = torch.func.functional_call(made, tensors, (x,))
    finally:
        calls.remove()
    kept = sum(t.numel() * t.element_size() for t in seen.kept.values())
    sizes = [x.numel(), *seen.outputs, *(t.numel() for t in seen.kept.values())]
    parameters = sum(p.numel() for p in trainable_parameters(made).values())
    multiply_adds = (counter.get_total_flops() // 2 + seen.hidden) // count
    facts = ModelFacts(
        parameters=parameters,
        activations=x.numel() // count + math.ceil(kept / 4 / count),
        outputs=math.ceil(sum(seen.outputs) / count),
        largest=math.ceil(max(sizes) / count),
        layers=len(seen.outputs),
        # Of modules that compute in their own way, each weight is used once.
        multiply_adds=max(multiply_adds, parameters),
    )
    return _Step(facts, _last_act(outputs))


def _last_act(outputs: Tensor) -> str | None:
    """What made outputs, but for what leaves values as they are."""
    step = outputs.grad_fn
    while step is not None and step.name().startswith(_SHAPING):
        step = step.next_functions[0][0]
    return None if step is None else str(step.name())
