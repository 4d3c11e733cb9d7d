"""The user's own PyTorch module: built, checked, made ready to train. Imports PyTorch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from disdel.errors import UsageError
from disdel.models.torch_files import are_images, call_own
from disdel.models.torch_made import TorchMade, trainable_parameters
from disdel.models.user.bundled import function_beside, learnt, module_here
from disdel.models.user.torch_losses import own_loss, weights_of
from disdel.runtimes.torch.optim_settings import check_returned, read_optimizer
from disdel.runtimes.torch.recipe import Measure, TorchModel, TorchRecipe, mean_of, recipe_for
from disdel.types.arrays import Array
from disdel.types.names import DEFAULT_OPTIMIZER, OPTIMIZERS, SampleKind, Target
from disdel.types.specs import CodeRef, ModelSpec, OptimizerGroup, OptimizerSpec, TargetSpec
from disdel.types.words import a_kind
from disdel.user_code.module import UserModule

# What can be averaged and stored.
_DTYPES = {
    torch.float64,
    torch.float32,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
}

# What PyTorch says where integers are needed and floating-point numbers are given.
_OF_FLOATS = ("scalar types: Long", "only applicable to index tensor", "must be long, int")


@dataclass(frozen=True, slots=True)
class Built:
    """A module of the user's.

    Attributes:
        made: as the function returned it, with its parameters.
        learns: how it tells of the data set's target, by the shape of its output.
        outputs: what it gives for the samples that it was built with.
        takes_integers: whether it is given integers as such.
    """

    made: TorchModel
    learns: Target
    outputs: Tensor
    takes_integers: bool = False


def bundled_network(
    spec: ModelSpec, code: CodeRef, samples: Array, device: torch.device
) -> TorchMade:
    """The module of a description whose code is in this bundle, on `device`.

    Args:
        spec: its description.
        code: its code.
        samples: some as stored, from which a lazy module learns its shapes.
        device: where its parameters go.

    Raises:
        UsageError: this runtime lacks a package that it needs, or it cannot be built here.
    """
    module = module_here(code)
    made = _made(module, samples, spec.target)
    if any(map(is_lazy, (*made.parameters(), *made.buffers()))):
        first_outputs(module, made, samples, takes_integers=spec.takes_integers)
    made.to(device)
    return TorchMade(made, recipe_of(module, spec, device))


def build_own(
    module: UserModule, samples: Array, target: TargetSpec, kind: SampleKind = "numbers"
) -> Built:
    """Call the user's function and check what it returns.

    Integers are given to it as such if it can take them so, else as float32. A module that takes
    both is given tokens as integers, and the numbers of a table as float32.

    Args:
        module: its module.
        samples: some of the data set's, as stored.
        target: what the data set has to learn.
        kind: of the samples.

    Raises:
        UsageError: the function failed, or did not return a module of one input and one output
            that suits the data set.
    """
    made = _made(module, samples, target)
    takes_integers, outputs = False, None
    if samples.dtype.kind == "i":
        takes_integers, outputs = _tried(module, made, samples, first=kind == "tokens")
    else:
        outputs = first_outputs(module, made, samples)
    learns = _learns(module.code.entry, outputs, len(samples), target)
    return Built(made, learns, outputs.detach(), takes_integers)


def _tried(
    module: UserModule, made: TorchModel, samples: Array, *, first: bool
) -> tuple[bool, Any]:
    """Whether a module takes integers as such, which is tried first or second, and its outputs.

    Raises:
        UsageError: it takes them neither so nor as float32.
    """
    failures: dict[bool, UsageError] = {}
    for takes_integers in (first, not first):
        try:
            return takes_integers, first_outputs(
                module, made, samples, takes_integers=takes_integers
            )
        except UsageError as error:
            failures[takes_integers] = error
    # What is told of the dtype that it does not take is beside the point.
    wants_integers = any(said in str(failures[False]) for said in _OF_FLOATS)
    raise failures[wants_integers]


def _made(module: UserModule, samples: Array, target: TargetSpec) -> TorchModel:
    """What the user's function returns: a module, as far as it can be told without calling it."""
    entry = module.code.entry
    made = call_own(module, samples.shape[1:], samples.dtype.name, target)
    if not isinstance(made, nn.Module):
        raise UsageError(f"{entry} returned {a_kind(made)}, where a torch.nn.Module is needed")
    if hasattr(made, "_orig_mod"):
        raise UsageError(
            f"{entry} returned a compiled module; return it as it was before torch.compile"
        )
    _check_input(entry, made)
    _check_state(entry, made)
    _check_modes(entry, made)
    return made


def first_outputs(
    module: UserModule, made: TorchModel, samples: Array, *, takes_integers: bool = False
) -> Any:
    """What a module gives for samples as stored; lazy ones have their parameters then.

    Raises:
        UsageError: it does not take them.
    """
    made.eval()  # batch normalisation must not see these samples
    stored = torch.from_numpy(samples)
    images = are_images(samples.shape[1:], samples.dtype.name)
    inputs = _inputs(images=images, takes_integers=takes_integers)
    try:
        with torch.no_grad(), as_trainable_as_now(made):
            return module.guarded(lambda: made(_preprocess(module)(inputs(stored))))
    except UsageError as error:
        if samples.dtype.kind == "i" or not any(said in str(error) for said in _OF_FLOATS):
            raise
        raise UsageError(
            f"{error}; the samples are {samples.dtype.name}: have the data set hold integers, or "
            "give the embedding x.long()"
        ) from error


@contextmanager
def as_trainable_as_now(made: TorchModel) -> Iterator[None]:
    """Within, a module may say which parameters train; afterwards it is as it was made."""
    flags = [(parameter, parameter.requires_grad) for parameter in made.parameters()]
    try:
        yield
    finally:
        for parameter, trains in flags:
            parameter.requires_grad_(trains)


def _check_input(entry: str, made: TorchModel) -> None:
    try:
        parameters = inspect.signature(made.forward).parameters.values()
    except (TypeError, ValueError):
        return
    wanted = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if len(wanted) > 1:
        raise UsageError(
            f"the model of {entry} has {len(wanted)} inputs ({', '.join(wanted)}), and a data set "
            "has one: the samples"
        )


def _learns(entry: str, outputs: object, samples: int, target: TargetSpec) -> Target:
    if isinstance(outputs, list | tuple | dict):
        raise UsageError(
            f"the model of {entry} gives {a_kind(outputs)} of {len(outputs)}, and "
            "one output is needed, by itself"
        )
    if not isinstance(outputs, Tensor):
        raise UsageError(f"the model of {entry} gives {a_kind(outputs)}, where a tensor is needed")
    if not outputs.dim() or len(outputs) != samples:
        raise UsageError(
            f"the model of {entry} gives a tensor of shape {tuple(outputs.shape)} for {samples} "
            "samples; its first axis must be theirs"
        )
    shape = tuple(outputs.shape[1:])
    # One number a sample may have an axis or none; loss and metrics get targets alike.
    if not shape and target.classes in (0, 2):
        shape = (1,)
    return learnt(entry, shape, target, classes_first=True)


def _check_state(entry: str, made: TorchModel) -> None:
    """Refuse what cannot be averaged, stored or trained on a CPU."""
    tensors = {**dict(made.named_parameters()), **dict(made.named_buffers()), **made.state_dict()}
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise UsageError(
                f"{name} of {entry} is {a_kind(value)} and not a tensor; what a state dict holds "
                "is averaged, so keep it in parameters and buffers"
            )
        if value.device.type != "cpu":
            raise UsageError(
                f"{name} of {entry} is on the device {value.device}; return the module on the "
                "CPU, without .to(…): an action moves it where it computes"
            )
        if value.is_complex():
            raise UsageError(
                f"{name} of {entry} is complex ({value.dtype}), and real numbers are averaged: "
                "keep its parts, nn.Parameter(torch.view_as_real(values)), and compute with "
                f"torch.view_as_complex(self.{name.rpartition('.')[2]})"
            )
        if value.dtype not in _DTYPES:
            raise UsageError(
                f"{name} of {entry} is {value.dtype}, which cannot be averaged; call .float() on "
                "the module"
            )
    if not trainable_parameters(made):
        raise UsageError(f"the model of {entry} has no parameters to train")


def _check_modes(entry: str, made: TorchModel) -> None:
    """Refuse what only a training loop of the user's own would keep up."""
    if any(type(inner).__module__ == "torch.optim.swa_utils" for inner in made.modules()):
        raise UsageError(
            f"{entry} returned an AveragedModel, whose average nobody would update; return the "
            "module inside it"
        )
    if not made.training:
        return  # as pretrained modules come
    left_in_eval = [name for name, inner in made.named_modules() if not inner.training]
    made.train()
    for name in left_in_eval:
        if made.get_submodule(name).training:
            raise UsageError(
                f"{name} of {entry} is in eval mode, and training calls train() on the whole "
                "module: to keep it there, have the module's own def train(self, mode=True) call "
                f"self.{name}.eval() after super().train(mode); else leave .eval() out"
            )


def describe_optimizer(module: UserModule, made: TorchModel) -> OptimizerSpec:
    """What trains a module where no other is asked for. Raises as `own_optimizer`."""
    name, groups = own_optimizer(module, made)
    if name is None:
        return OptimizerSpec(name=DEFAULT_OPTIMIZER)
    return OptimizerSpec(name=name, beside_code=True, groups=groups)


def own_optimizer(
    module: UserModule, made: TorchModel
) -> tuple[str | None, tuple[OptimizerGroup, ...]]:
    """The optimizer beside the user's function, and of one of `torch.optim` what it does.

    Raises:
        UsageError: what stands there is none.
    """
    found: Any = module.attribute("optimizer")
    entry = module.place_of("optimizer")
    if found is None or (isinstance(found, str) and found in OPTIMIZERS):
        return found, ()
    if isinstance(found, str):
        raise UsageError(
            f"{entry}: disdel has no optimizer {found!r}; known: {', '.join(OPTIMIZERS)}; or write "
            "def optimizer(parameters): return torch.optim.…(parameters, lr=…)"
        )
    if not callable(found):
        raise UsageError(
            f"{entry}: optimizer must be a name, or a function of the module's parameters that "
            f"returns one of torch.optim, not {a_kind(found)}"
        )
    parameters = trainable_parameters(made)
    given = made if _wants_model(found) else list(parameters.values())
    optimizer = module.guarded(lambda: found(given))
    try:
        check_returned(optimizer, a_kind(optimizer))
        return read_optimizer(optimizer, parameters)
    except UsageError as error:
        raise UsageError(f"{entry}: {error}") from error


def _wants_model(function: Callable[..., Any]) -> bool:
    try:
        return next(iter(inspect.signature(function).parameters), "") == "model"
    except (TypeError, ValueError):
        return False


def recipe_of(
    module: UserModule, spec: ModelSpec, device: torch.device | str = "cpu"
) -> TorchRecipe:
    """How the module of a described function is trained and scored. Raises as `own_recipe`."""
    recipe = own_recipe(
        module,
        spec.learns,
        images=are_images(spec.input_shape, spec.input_dtype),
        probabilities=spec.gives_probabilities,
        takes_integers=spec.takes_integers,
        label_shape=spec.target.shape,
        device=device,
    )
    return replace(recipe, cuts=spec.by_sample)


def own_recipe(
    module: UserModule,
    target: Target,
    *,
    images: bool,
    probabilities: bool,
    takes_integers: bool = False,
    label_shape: tuple[int, ...] = (),
    device: torch.device | str = "cpu",
) -> TorchRecipe:
    """How the module of a user's function is trained and scored.

    Args:
        module: what stands beside the function.
        target: what is learnt.
        images: whether samples are stored as images, channels last.
        probabilities: whether the module gives probabilities and not logits.
        takes_integers: whether it is given integers as such.
        label_shape: of what is learnt of one sample.
        device: what it computes on.

    Raises:
        UsageError: what stands there is of no use.
    """
    recipe = recipe_for(target, probabilities=probabilities)
    loss = own_loss(module, target, device)
    return replace(
        recipe,
        loss=recipe.loss if loss is None else mean_of(loss),
        weigh=weights_of(loss),
        label_shape=label_shape,
        metrics={**recipe.metrics, **dict(_metrics(module))},
        inputs=_inputs(images=images, takes_integers=takes_integers),
        augment=function_beside(module, "augment"),
        preprocess=_preprocess(module),
    )


def _inputs(*, images: bool, takes_integers: bool) -> Callable[[Tensor], Tensor]:
    if images:
        return _image_inputs
    # Integers are int64 in PyTorch unless one says otherwise, and one_hot takes no others.
    dtype = torch.int64 if takes_integers else torch.float32
    # Copied, since modules and `preprocess` may compute in place, and what is stored must stay.
    return lambda x: x.to(dtype, copy=True)


def _image_inputs(x: Tensor) -> Tensor:
    turned = x.permute(0, 3, 1, 2)
    # Laid out anew, since modules call `view` on what convolutions make of it; `contiguous` leaves
    # an image of one channel as it is, and convolutions take that for channels last.
    return torch.empty(turned.shape, device=x.device).copy_(turned)


def _preprocess(module: UserModule) -> Callable[[Tensor], Tensor]:
    return function_beside(module, "preprocess") or (lambda x: x)


def _metrics(module: UserModule) -> Iterable[tuple[str, Measure]]:
    found: Any = module.attribute("metrics")
    if found is None:
        return
    for metric in found if isinstance(found, list | tuple) else [found]:
        if not callable(metric):
            raise UsageError(
                f"{module.code.entry}: metric {metric!r} must be a function of probabilities (or "
                "numbers) and targets that returns their mean over the samples"
            )
        yield getattr(metric, "__name__", type(metric).__name__), mean_of(metric)
