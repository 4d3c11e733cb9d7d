"""Try out the user's own PyTorch module, and say what it is. Imports PyTorch."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode

from disdel.errors import UsageError
from disdel.models.torch_files import are_images, load_torch_network
from disdel.models.torch_made import TorchMade, trainable_parameters, trainer_of
from disdel.models.user.bundled import (
    loss_spec,
    preprocessing_of,
)
from disdel.models.user.torch_losses import check_is_mean
from disdel.models.user.torch_model import (
    Built,
    as_trainable_as_now,
    build_own,
    describe_optimizer,
    first_outputs,
    own_recipe,
    recipe_of,
)
from disdel.models.user.trial import (
    Trial,
    adds_up,
    is_alike,
    labels_for_losses,
    look_like_probabilities,
)
from disdel.protocol.description import DescribeReply, DescribeRequest
from disdel.runtimes.steps_tried import FirstStep
from disdel.runtimes.torch.recipe import TorchModel, TorchRecipe
from disdel.runtimes.torch.trainer import pin_threads
from disdel.types.arrays import Array
from disdel.types.names import Precision
from disdel.types.specs import ModelFacts, ModelSpec, TriedSteps
from disdel.user_code.module import UserModule

# What may stand behind a softmax or a sigmoid and leaves its values as they are.
_SHAPING = ("View", "Unsafe", "Reshape", "Squeeze", "Unsqueeze", "Alias")
# Samples of the passes that are made for their sizes: what they are of a batch is on their line.
_FEW, _SOME = 2, 4


def describe(module: UserModule, request: DescribeRequest) -> DescribeReply:
    """The network that `request` names.

    Raises:
        UsageError: it cannot be built, trained or saved; the message shows the user's own line.
    """
    _leave_compiler_out()
    pin_threads(1)  # `FirstStep` measures one.
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
    tried = labels_for_losses(trial.y, target.classes)
    by_sample = _is_apart(module, built, trial) and _is_made_of_parts(recipe, built.outputs, tried)
    stored = torch.from_numpy(trial.x[: trial.batch_size])
    facts, last = module.guarded(lambda: _measured(built.made, recipe, stored))
    spec = ModelSpec(
        name=request.code.entry,
        features=request.features,
        targets=request.targets,
        learns=built.learns,
        gives_probabilities=_are_probabilities(built, last),
        takes_integers=built.takes_integers,
        facts=facts,
        default_optimizer=describe_optimizer(module, built.made),
        loss=loss_spec(module.attribute("loss"), built.learns),
        metrics=tuple(recipe.metrics),
        preprocessing=preprocessing_of(module),
        augments=recipe.augment is not None,
        code=request.code,
        home="torch",
        by_sample=by_sample,
    )
    steps = _try_out(module, built, spec, trial.batch(facts.activations), request.precision)
    return DescribeReply(model=spec, steps=steps)


def _is_apart(module: UserModule, built: Built, trial: Trial) -> bool:
    """Whether a sample's outputs do not hang on the others in its batch."""
    one, integers = trial.few()[:1], built.takes_integers
    try:
        alone = first_outputs(module, built.made, one, takes_integers=integers)
    except UsageError:
        return False  # It has no single samples.
    return is_alike(alone.float().numpy(), built.outputs[:1].float().numpy())


def _is_made_of_parts(recipe: TorchRecipe, outputs: Tensor, y: Array) -> bool:
    """Whether a batch's loss is made of those of its samples, each by what it counts.

    Args:
        recipe: of the loss.
        outputs: what the module gives for some samples.
        y: labels as stored, of as many samples as wanted; the outputs are taken in turn for them.
    """
    given = outputs[torch.arange(len(y)) % len(outputs)]
    labels = recipe.labels(torch.from_numpy(y))

    def loss(at: slice) -> float:
        return float(recipe.loss(given[at], recipe.wanted(labels[at], given[at])))

    weights = recipe.weights(labels)
    ones = [slice(i, i + 1) for i in range(len(y))]
    shares = [float(weights[one].sum() / weights.sum()) for one in ones]
    try:
        with torch.no_grad():
            whole = loss(slice(None))
            parts = [loss(one) if share else 0.0 for one, share in zip(ones, shares, strict=True)]
    except Exception:
        return False  # It has no single samples.
    return adds_up(whole, parts, shares)


def _leave_compiler_out() -> None:
    """Have nothing here import PyTorch's compiler, which takes a second.

    What is called below imports it at its first call to have itself left alone by it, and keeps the
    function to call instead where it is looked for afterwards. Nothing is compiled in this process.
    """
    counting = getattr(flop_counter, "_FlopCounterMode", None)
    counts = getattr(counting, "__torch_dispatch__", None)
    for function in (*vars(torch.optim.Optimizer).values(), counts):
        if (inner := getattr(function, "__wrapped__", None)) is not None:
            inner.__dynamo_disable = inner


def _are_probabilities(built: Built, last: str | None) -> bool:
    """Whether outputs come from a softmax (of one: a sigmoid), or look like those of one."""
    if last is not None and last.startswith("Sigmoid" if built.learns == "binary" else "Softmax"):
        return built.learns != "number"
    return built.learns == "class" and look_like_probabilities(built.outputs.movedim(1, -1).numpy())


def _try_out(
    module: UserModule, built: Built, spec: ModelSpec, trial: Trial, precision: Precision
) -> TriedSteps:
    """Train a step, go on from its state, score, save and load, as actions would.

    Returns:
        What steps took.

    Raises:
        UsageError: one of these failed.
    """
    made = TorchMade(built.made, recipe_of(module, spec))
    trainer = trainer_of(made, spec, optimizer=None, learning_rate=None, precision=precision)

    def once() -> TriedSteps:
        first = FirstStep(trainer, trial.x, trial.y)
        trainer.load_state(trainer.state())
        trainer.score(trial.x, trial.y)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{trainer.model_suffix}"
            trainer.save_model(path)
            load_torch_network(path, module)
        return first.followed()

    return module.guarded(once)


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


class _Saved(torch.autograd.graph.saved_tensors_hooks):  # type: ignore[misc]
    """Sees what the backward pass needs."""

    def __init__(self, seen: _Seen) -> None:
        super().__init__(seen.keep, lambda tensor: tensor)


class _Made(TorchDispatchMode):  # type: ignore[misc]  # PyTorch's types are not loaded
    """Sees all that a pass makes, which is more than what the backward pass needs."""

    def __init__(self, seen: _Seen) -> None:
        super().__init__()
        self._seen = seen

    def __torch_dispatch__(
        self, function: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        outputs = function(*args, **(kwargs or {}))
        for output in outputs if isinstance(outputs, list | tuple) else [outputs]:
            if isinstance(output, Tensor):
                self._seen.keep(output)
        return outputs


class _NoModules(nullcontext[None]):
    """In place of what the counter tells modules apart by.

    Its hooks end the derivatives that a module takes in its forward pass.
    """

    parents = frozenset({"Global"})


def _place(tensor: Tensor) -> int:
    """Where a tensor's values lie, or would; sparse ones lie in several places."""
    return id(tensor) if tensor.is_sparse else int(tensor.untyped_storage()._cdata)


@dataclass(frozen=True, slots=True)
class _Pass:
    """What a forward pass shows of a module: sizes in elements, of all its samples together.

    Attributes:
        inputs: of what the module takes.
        kept: of what the backward pass needs beside that.
        outputs: of all layers.
        largest: of the largest tensor.
        layers: how many there are.
        multiply_adds: of the pass.
        last: what its output was made by.
    """

    inputs: int
    kept: float
    outputs: int
    largest: int
    layers: int
    multiply_adds: int
    last: str | None

    def of_batch(self, smaller: _Pass, samples: tuple[int, int], batch: int) -> _Pass:
        """The sizes of a batch, by this pass and that of fewer samples: each is a line."""
        more, fewer = samples
        further = (batch - more) / (more - fewer)

        def drawn_out(mine: float, other: float) -> int:
            return max(0, round(mine + (mine - other) * further))

        return replace(
            self,
            inputs=drawn_out(self.inputs, smaller.inputs),
            kept=drawn_out(self.kept, smaller.kept),
            outputs=drawn_out(self.outputs, smaller.outputs),
            largest=drawn_out(self.largest, smaller.largest),
            multiply_adds=drawn_out(self.multiply_adds, smaller.multiply_adds),
        )


def _measured(
    made: TorchModel, recipe: TorchRecipe, stored: Tensor
) -> tuple[ModelFacts, str | None]:
    """A module's sizes, by small passes of samples as stored, and what its output was made by last.

    Raises:
        Exception: whatever the module raises.
    """
    state = {name: t.clone() for name, t in made.named_buffers()}
    made.train()
    try:
        with as_trainable_as_now(made):
            few, some = (_passed(made, recipe, stored[:count]) for count in (_FEW, _SOME))
    finally:
        for name, buffer in made.named_buffers():
            buffer.copy_(state[name])
    count = len(stored)
    if count > _SOME:
        some = some.of_batch(few, (_SOME, _FEW), count)
    parameters = sum(p.numel() for p in trainable_parameters(made).values())
    held = sum(t.numel() for t in (*made.parameters(), *made.buffers()))
    facts = ModelFacts(
        parameters=parameters,
        activations=some.inputs // count + math.ceil(some.kept / count),
        outputs=math.ceil(some.outputs / count),
        largest=math.ceil(some.largest / count),
        layers=some.layers,
        # Of modules that compute in their own way, each weight is used once.
        multiply_adds=max(some.multiply_adds // count, parameters),
        constants=held - parameters,
    )
    return facts, some.last


def _passed(made: TorchModel, recipe: TorchRecipe, stored: Tensor) -> _Pass:
    try:
        return _passed_within(_Saved, made, recipe, stored)
    except RuntimeError as error:
        # As `torch.func.grad` has it, which saves in its own way.
        if "saved tensor hooks" not in str(error):
            raise
        return _passed_within(_Made, made, recipe, stored)


def _passed_within(
    keeping: Callable[[_Seen], AbstractContextManager[Any]],
    made: TorchModel,
    recipe: TorchRecipe,
    stored: Tensor,
) -> _Pass:
    x = recipe.preprocess(recipe.inputs(stored))
    seen = _Seen({_place(tensor) for tensor in (x, *made.parameters(), *made.buffers())})
    calls = nn.modules.module.register_module_forward_hook(seen.called)
    counter = flop_counter.FlopCounterMode(display=False)
    counter.mod_tracker = _NoModules()
    try:
        with counter, keeping(seen):
            outputs = made(x)
    finally:
        calls.remove()
    return _Pass(
        inputs=x.numel(),
        kept=sum(t.numel() * t.element_size() for t in seen.kept.values()) / 4,
        outputs=sum(seen.outputs),
        largest=max(x.numel(), *seen.outputs, *(t.numel() for t in seen.kept.values())),
        layers=len(seen.outputs),
        multiply_adds=counter.get_total_flops() // 2 + seen.hidden,
        last=_last_act(outputs),
    )


def _last_act(outputs: Tensor) -> str | None:
    """What made outputs, but for what leaves values as they are."""
    step = outputs.grad_fn
    while step is not None and step.name().startswith(_SHAPING):
        step = step.next_functions[0][0]
    return None if step is None else str(step.name())
