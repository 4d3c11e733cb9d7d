"""What a framework must offer to train here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from disdel.arrays import Array, Tensors

OPTIMIZER_PREFIX = "optimizer/"


def split_state(state: Tensors) -> tuple[dict[str, Array], dict[str, Array]]:
    """The tensors of a state that are the model's, and those that are the optimizer's."""
    optimizer = {name: state[name] for name in state if name.startswith(OPTIMIZER_PREFIX)}
    return {name: state[name] for name in state if name not in optimizer}, optimizer


class Trainer(ABC):
    """A model, its optimizer and its loss in one framework, driven block by block.

    The state is everything that decides what the next step does: weights, other variables of the
    model, and the optimizer's, whose names begin with `OPTIMIZER_PREFIX`. Samples arrive as they
    are stored (uint8 images are scaled inside).
    """

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """The state by stable names: equal for every worker of a run, whatever it ran before."""

    @abstractmethod
    def load_state(self, tensors: Tensors) -> None:
        """Continue from `tensors`, as `state()` gave them.

        Where they have none of the optimizer's, the optimizer starts anew.

        Raises:
            StoreError: names, shapes or dtypes are not those of this model and optimizer.
        """

    @abstractmethod
    def train(
        self, x: Array, y: Array, micro_batches: int = 1, rate_factors: Array | None = None
    ) -> float:
        """Take one optimizer step a batch.

        Args:
            x: samples, (steps, batch, *input_shape).
            y: labels, (steps, batch) int32.
            micro_batches: parts into which each batch is cut to save memory; their gradients are
                added up, so that the step is the whole batch's (but for layers that look at a
                batch as a whole, as batch normalisation does).
            rate_factors: what the learning rate is multiplied by, (steps,) float32; None is 1.

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
        """Write the model with its weights as a file that the framework's own tools open."""
