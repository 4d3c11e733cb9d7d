"""What a framework must offer to train here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from disdel.arrays import Array, Tensors
from disdel.errors import StoreError


class Trainer(ABC):
    """A model, its optimizer and its loss in one framework, driven block by block.

    The state is everything that decides what the next step does: weights, other variables of the
    model, and the optimizer's. Samples arrive as they are stored (uint8 images are scaled inside).

    Attributes:
        model_suffix: of the files that `save_model` writes.
    """

    model_suffix: ClassVar[str]

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """The state by stable names: equal for every worker of a run, whatever it ran before."""

    @abstractmethod
    def load_state(self, tensors: Tensors) -> None:
        """Continue from `tensors`, as `state()` gave them.

        Raises:
            StoreError: names, shapes or dtypes are not those of this model and optimizer.
        """

    @abstractmethod
    def train(self, x: Array, y: Array, micro_batches: int = 1) -> float:
        """Take one optimizer step a batch.

        Args:
            x: samples, (steps, batch, *input_shape).
            y: labels, (steps, batch) int32.
            micro_batches: parts into which each batch is cut to save memory; their gradients are
                added up, so that the step is the whole batch's (but for layers that look at a
                batch as a whole, as batch normalisation does).

        Returns:
            The sum over the samples of their loss, each at its step.
        """

    @abstractmethod
    def score(self, x: Array, y: Array) -> tuple[float, int]:
        """Loss summed over the samples, and how many are classified correctly.

        Args:
            x: samples, (batch, *input_shape).
            y: labels, (batch,) int32.
        """

    @abstractmethod
    def save_model(self, path: Path) -> None:
        """Write the model with its weights to `path`, without its optimizer."""


def check_state(shapes: Mapping[str, tuple[int, ...]], tensors: Tensors) -> None:
    """Whether `tensors` are a state of a trainer whose own has these names and shapes.

    Raises:
        StoreError: they are not.
    """
    if shapes.keys() != tensors.keys():
        odd = sorted(shapes.keys() ^ tensors.keys())
        raise StoreError(f"the stored state is of another network or optimizer: {odd[:3]}")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise StoreError(
                f"{name} is stored as {tensors[name].shape} and the network has {shape}"
            )
