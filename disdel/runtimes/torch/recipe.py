"""What a PyTorch module is trained for: target, loss, metrics, and what becomes of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from disdel.types.names import Target
from disdel.types.specs import ModelSpec

TorchModel = Any  # PyTorch's types are not loaded
Measure = Callable[[Tensor, Tensor], Tensor]

# Where a model gives a class no chance, the logarithm of that would be the loss of all samples.
_LEAST_PROBABILITY = 1e-7


def _as_they_are(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchRecipe:
    """How a module is trained and scored.

    Attributes:
        target: what it learns of a sample.
        gives_probabilities: whether its outputs are probabilities already; else, for classes, they
            are logits (of which logarithms of probabilities are a kind).
        loss: the mean loss of a batch, from the module's outputs and the targets.
        metrics: further means by name, from the probabilities (or numbers) and the targets.
        inputs: from samples as stored to what `augment` and `preprocess` take.
        augment: from samples and labels (batch,) to others of the same shapes; in training only.
        preprocess: from samples to what the module takes.
        weigh: what each label counts in the mean that `loss` takes, of targets; None where all
            count the same.
        label_shape: of what is learnt of one sample; () for one class or number.
        cuts: whether a batch's loss is made of those of its parts.
        loss_unit: what the loss is divided by before gradients are taken, so that steps do not
            depend on the units of numbers to predict.

    Targets are class numbers, (batch, *label_shape) int64, beside outputs (batch, classes,
    *label_shape); for "binary" and "number" float32 in the shape of the outputs, which are then
    (batch, 1), or (batch,) of some modules of users', and with a label shape that, with or without
    an axis of 1 before or behind it.
    """

    target: Target
    gives_probabilities: bool
    loss: Measure
    metrics: Mapping[str, Measure] = field(default_factory=dict)
    inputs: Callable[[Tensor], Tensor] = _as_they_are
    augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    preprocess: Callable[[Tensor], Tensor] = _as_they_are
    weigh: Callable[[Tensor], Tensor] | None = None
    cuts: bool = True
    loss_unit: float = 1.0
    label_shape: tuple[int, ...] = ()

    def weights(self, y: Tensor) -> Tensor:
        """What labels, (batch, …), count in the mean loss of a batch; float32, (batch, …)."""
        return torch.ones(len(y), device=y.device) if self.weigh is None else self.weigh(y)

    def outputs(self, model: TorchModel, x: Tensor) -> Tensor:
        """What a module gives, (batch, …), for samples as stored, (batch, *input_shape)."""
        return model(self.preprocess(self.inputs(x)))

    def labels(self, y: Tensor) -> Tensor:
        """Labels as `augment` takes them: classes as int64, numbers as float32; a copy."""
        return y.to(torch.float32 if self.target == "number" else torch.int64, copy=True)

    def wanted(self, y: Tensor, outputs: Tensor) -> Tensor:
        """The targets that loss and metrics are given.

        Args:
            y: (batch,) classes or numbers.
            outputs: what the module gave; targets that are no classes get its shape.
        """
        return y if self.target == "class" else y.float().reshape(outputs.shape)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """What the outputs mean, in the same shape: probabilities, or numbers."""
        if self.gives_probabilities or self.target == "number":
            return outputs
        return outputs.softmax(1) if self.target == "class" else outputs.sigmoid()

    def predictions(self, outputs: Tensor) -> Tensor:
        """A probability for each class, (batch, *label_shape, classes), or numbers, float32.

        Numbers are (batch, *label_shape), or (batch, 1) where there is one.
        """
        given = self.probabilities(outputs.float())
        if self.target == "class":
            return given.movedim(1, -1)
        if self.target == "binary":
            chance = given.reshape(-1, *self.label_shape)
            return torch.stack([1 - chance, chance], -1)
        return given.reshape(-1, *(self.label_shape or (1,)))

    def correct(self, outputs: Tensor, y: Tensor) -> int | None:
        """How many labels of a batch are predicted correctly; None where there are no classes.

        Args:
            outputs: (batch, classes, *label_shape), or of two classes one value for each label.
            y: (batch, *label_shape) classes.
        """
        if self.target == "number":
            return None
        if self.target == "class":
            guessed = outputs.argmax(1)
        else:
            guessed = outputs.reshape(y.shape) > (0.5 if self.gives_probabilities else 0.0)
        return int((guessed == y).sum())


def recipe_for(target: Target, *, probabilities: bool) -> TorchRecipe:
    """The usual loss for a target: cross-entropy, or the squared error; that with the absolute one.

    Args:
        target: what is learnt.
        probabilities: whether the module gives probabilities and not logits.
    """
    losses: dict[tuple[Target, bool], Measure] = {
        ("class", False): functional.cross_entropy,
        ("class", True): _cross_entropy_of_probabilities,
        ("binary", False): functional.binary_cross_entropy_with_logits,
        ("binary", True): functional.binary_cross_entropy,
    }
    loss = losses.get((target, probabilities), functional.mse_loss)
    metrics = {"mean_absolute_error": functional.l1_loss} if target == "number" else {}
    return TorchRecipe(target=target, gives_probabilities=probabilities, loss=loss, metrics=metrics)


# Of the built-in networks for classes, which give logarithms of probabilities.
OF_CLASSES = TorchRecipe(target="class", gives_probabilities=False, loss=functional.nll_loss)


def built_in_recipe(spec: ModelSpec) -> TorchRecipe:
    """How a built-in network is trained and scored."""
    if spec.learns == "class":
        return OF_CLASSES
    return replace(
        recipe_for(spec.learns, probabilities=False),
        loss_unit=spec.loss.unit,
        label_shape=spec.target.shape,
    )


def mean_of(measure: Measure) -> Measure:
    """The mean over a batch, as one float32, of what `measure` gives for it or for each sample."""

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.as_tensor(measure(outputs, targets)).float().mean()

    return mean


def _cross_entropy_of_probabilities(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.nll_loss(outputs.clamp_min(_LEAST_PROBABILITY).log(), targets)
