"""PyTorch, driven by a plain loop over the steps of a block. Imports PyTorch; import it lazily.

Nothing is compiled: that takes longer than most activations do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from disdel.errors import UsageError
from disdel.runtimes.base import (
    OPTIMIZER_PREFIX,
    AddedTerms,
    Scored,
    Trainer,
    check_state,
    split_state,
)
from disdel.runtimes.torch.optimizers import TorchOptimizer
from disdel.runtimes.torch.pooling import pool_channels_last
from disdel.runtimes.torch.recipe import OF_CLASSES, TorchModel, TorchRecipe
from disdel.types.arrays import Array, Tensors
from disdel.types.names import Precision
from openwhisk_local.machine.allocator import keep_freed_memory


class TorchTrainer(Trainer):
    """Trains a module.

    Args:
        model: the module, on the device that it is to compute on; what training changes of it lies
            in its parameters and buffers. States come and go as arrays in RAM.
        optimizer: of its parameters; those that it leaves out keep their values.
        save: writes the file of the model.
        recipe: how it is trained; by default it is a built-in network for classes.
        precision: what training steps compute in; scores are the saved model's, in float32.
        takes_seeds: whether model or recipe may draw random numbers.
    """

    model_suffix = ".safetensors"

    def __init__(
        self,
        model: TorchModel,
        *,
        optimizer: TorchOptimizer,
        save: Callable[[Path], None],
        recipe: TorchRecipe = OF_CLASSES,
        precision: Precision = "float32",
        takes_seeds: bool = True,
    ) -> None:
        self.takes_seeds = takes_seeds
        self._model = model
        self._optimizer = optimizer
        self._save = save
        self._recipe = recipe
        self.compute_in(precision)
        # Else PyTorch finds the parameters itself, and takes more: reentrant checkpoints, and
        # parameters that a module does not train at some steps.
        updated = {id(parameter) for parameter in optimizer.parameters}
        self._leaves_out = any(
            parameter.requires_grad and id(parameter) not in updated
            for parameter in model.parameters()
        )
        self._device = optimizer.parameters[0].device
        if self._device.type == "cpu":
            # There PyTorch has the C library allocate.
            keep_freed_memory()
            pool_channels_last()
        self._proximal = 0.0
        # One for each parameter of the optimizer while terms are added.
        self._shifts: list[Tensor] | None = None
        # Averages with a momentum; without one, PyTorch takes the mean of all steps.
        self._moving = [
            (module, module.momentum)
            for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.momentum is not None
        ]
        # PyTorch refuses to normalise a batch of one sample in training.
        self._wants_two = any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()
        )

    def compute_in(self, precision: Precision) -> None:
        self._mixed = precision == "bfloat16"

    def share_steps(self, clients: int) -> None:
        for module, momentum in self._moving:
            # PyTorch's is what of the new value is taken.
            module.momentum = momentum if clients == 1 else 1 - (1 - momentum) ** clients

    def train(
        self,
        x: Array,
        y: Array,
        micro_batches: int = 1,
        rate_factors: Array | None = None,
        seeds: Array | None = None,
    ) -> float:
        self._model.train()
        factors = np.ones(len(x)) if rate_factors is None else rate_factors
        parts = min(micro_batches, x.shape[1]) if self._recipe.cuts else 1
        loss_sum = torch.zeros((), device=self._device)
        labelled = self._recipe.labels(self._placed(y))
        block = zip(self._placed(x), labelled, factors, strict=True)
        for step, (samples, labels, factor) in enumerate(block):
            if seeds is not None:
                seed_all(int(seeds[step]))
            gradients, loss = self._gradients(samples, labels, parts)
            if self._shifts is not None:
                gradients = self._with_terms(gradients, self._shifts)
            self._optimizer.apply(gradients, float(factor))
            # Read once a block: reading it waits for it.
            loss_sum += loss
        return float(loss_sum)

    def _gradients(self, x: Tensor, y: Tensor, parts: int) -> tuple[list[Tensor | None], Tensor]:
        """The gradients of a batch's mean loss, and its loss summed over the samples.

        A parameter that the loss does not depend on has none.
        """
        parameters, unit = self._optimizer.parameters, self._recipe.loss_unit
        loss_sum = torch.zeros((), device=self._device)
        _forget_gradients(parameters)
        x, y = self._augmented(x, y)
        for samples, labels, share in self._parts(x, y, parts):
            loss = self._loss(samples, labels)
            scaled = loss if share == unit == 1 else loss * share / unit
            # Into the parameters, where hooks of the user's own look for them.
            scaled.backward(inputs=parameters if self._leaves_out else None)
            loss_sum += loss.detach() * share * len(x)
        gradients = [parameter.grad for parameter in parameters]
        _forget_gradients(parameters)
        return gradients, loss_sum

    def _parts(
        self, x: Tensor, y: Tensor, parts: int
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | float]]:
        """A batch in parts, each with its share of the mean loss; those without any left out."""
        if parts == 1:
            yield x, y, 1.0
            return
        weights = self._recipe.weights(y)
        cut = (x.tensor_split(parts), y.tensor_split(parts), weights.tensor_split(parts))
        for samples, labels, weight in zip(*cut, strict=True):
            share = weight.sum() / weights.sum()
            if share:  # Else it would be a mean over nothing.
                yield samples, labels, share

    def _with_terms(
        self, gradients: list[Tensor | None], shifts: list[Tensor]
    ) -> list[Tensor | None]:
        """The gradients with the terms added; what had none still has none."""
        with torch.no_grad():
            return [
                None
                if gradient is None
                # Those of a sparse embedding come as the rows that were looked up.
                else (gradient.to_dense() if gradient.is_sparse else gradient)
                .add(parameter, alpha=self._proximal)
                .add_(shift)
                for gradient, parameter, shift in zip(
                    gradients, self._optimizer.parameters, shifts, strict=True
                )
            ]

    def trained(self) -> tuple[str, ...]:
        named = {id(p): f"model/{name}" for name, p in self._model.named_parameters()}
        return tuple(named[id(parameter)] for parameter in self._optimizer.parameters)

    def frozen(self) -> tuple[str, ...]:
        trained = {id(parameter) for parameter in self._optimizer.parameters}
        held = self._model.named_parameters()
        frozen = {name for name, parameter in held if id(parameter) not in trained}
        # As training has it: a module may keep some of its own in evaluation.
        self._model.train()
        for path, module in self._model.named_modules():
            # What is no part of a saved module is made anew with it: constants.
            own = set(module._non_persistent_buffers_set)
            if isinstance(module, nn.modules.batchnorm._NormBase) and not module.training:
                own |= module._buffers.keys()
            frozen |= {f"{path}.{name}" if path else name for name in own}
        names = [name for name, _ in self._tensors()]
        return tuple(name for name in names if name.removeprefix("model/") in frozen)

    def add_terms(self, terms: AddedTerms | None) -> None:
        if terms is None:
            self._shifts = None
            return
        self._proximal = terms.proximal
        self._shifts = [
            torch.zeros_like(parameter)
            if name not in terms.shift
            else torch.from_numpy(np.asarray(terms.shift[name])).to(self._device)
            for name, parameter in zip(self.trained(), self._optimizer.parameters, strict=True)
        ]

    def _augmented(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """A whole batch as `preprocess` takes it in training; without `augment`, as stored."""
        recipe = self._recipe
        if recipe.augment is None:
            return x, y
        x = recipe.inputs(x)
        before = x.shape, y.shape
        x, y = recipe.augment(x, y)
        if (x.shape, y.shape) != before:
            raise UsageError(
                f"augment gave samples of shape {tuple(x.shape)} and targets of shape "
                f"{tuple(y.shape)} for {tuple(before[0])} and {tuple(before[1])}; shapes must "
                "stay"
            )
        return x, y

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean loss of a batch, as `_augmented` gives it, as training sees it."""
        recipe = self._recipe
        if len(x) == 1 and self._wants_two:
            # The mean is the same, and its variance is zero, as Keras has it.
            x, y = torch.cat([x, x]), torch.cat([y, y])
        x = recipe.preprocess(x if recipe.augment is not None else recipe.inputs(x))
        # Weights are cast on their way in, so their gradients are float32. No loss is scaled:
        # bfloat16 has the range of float32.
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed):
            outputs = self._model(x)
        if self._mixed:
            outputs = outputs.float()
        return recipe.loss(outputs, recipe.wanted(y, outputs))

    def _placed(self, values: Array) -> Tensor:
        """An array where the model is."""
        tensor = torch.from_numpy(values)
        if self._device.type == "cpu":
            return tensor
        # From pinned memory it is copied while the device computes.
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def score(self, x: Array, y: Array) -> Scored:
        self._model.eval()
        recipe, labels = self._recipe, self._recipe.labels(self._placed(y))
        # Not inference mode, whose tensors could not be trained with if the module keeps some.
        with torch.no_grad():
            outputs = recipe.outputs(self._model, self._placed(x))
            given, wanted = recipe.probabilities(outputs), recipe.wanted(labels, outputs)
            sums = {
                name: float(metric(given, wanted)) * len(x)
                for name, metric in recipe.metrics.items()
            }
            loss_sum = float(recipe.loss(outputs, wanted)) * len(x)
            return Scored(loss_sum, recipe.correct(outputs, labels), sums)

    def state(self) -> dict[str, Array]:
        return {name: tensor.copy() for name, tensor in self.peek().items()}

    def peek(self) -> dict[str, Array]:
        return {name: tensor.cpu().numpy() for name, tensor in self._tensors()}

    def load_state(self, tensors: Tensors) -> None:
        own = dict(self._tensors())
        if not split_state(tensors)[1]:
            self._optimizer.restart()
            own = split_state(own)[0]
        check_state({name: tuple(tensor.shape) for name, tensor in own.items()}, tensors)
        for name, tensor in own.items():
            # A 0-d array stays one only as an array.
            tensor.copy_(torch.from_numpy(np.asarray(tensors[name])))

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What a state holds, by name; what several modules share has the first of its names."""
        modules = _modules(self._model)
        for held in ("_parameters", "_buffers"):
            seen: set[int] = set()
            for path, module in modules:
                for name, tensor in getattr(module, held).items():
                    if tensor is not None and id(tensor) not in seen:
                        seen.add(id(tensor))
                        yield f"model/{path}{name}", tensor.detach()
        yield f"{OPTIMIZER_PREFIX}step", self._optimizer.step
        for name, slot in self._optimizer.slots.items():
            yield f"{OPTIMIZER_PREFIX}{name}", slot

    def save_model(self, path: Path) -> None:
        self._save(path)


def _modules(model: TorchModel) -> list[tuple[str, TorchModel]]:
    """All modules with their paths, in the order of `named_modules`, in a tenth of its time."""
    found: list[tuple[str, TorchModel]] = []
    seen: set[int] = set()

    def visit(path: str, module: TorchModel) -> None:
        if module is None or id(module) in seen:
            return
        seen.add(id(module))
        found.append((path, module))
        for name, inner in module._modules.items():
            visit(f"{path}{name}.", inner)

    visit("", model)
    return found


def _forget_gradients(parameters: list[Tensor]) -> None:
    for parameter in parameters:
        parameter.grad = None


def seed_all(seed: int) -> None:
    """Begin the random numbers of PyTorch, numpy and Python anew; `seed` is below 2**32."""
    torch.default_generator.manual_seed(seed)
    # Without a device, each call would be kept for the time that there is one.
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed)
    random.seed(seed)


def pin_threads(threads: int | None) -> None:
    """Give PyTorch `threads` CPU threads; None leaves it the machine's."""
    if threads is not None:
        torch.set_num_threads(threads)
