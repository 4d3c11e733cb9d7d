"""PyTorch, driven by a plain loop over the steps of a block. Imports PyTorch; import it lazily.

Samples come with channels last and stay so, which is also the fastest layout for convolutions on
CPUs. Nothing is compiled: that takes longer than most activations do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from disdel.arrays import Array, Tensors
from disdel.training.base import OPTIMIZER_PREFIX, Scored, Trainer, check_state, split_state
from disdel.training.torch_optimizers import TorchOptimizer
from disdel.types import Precision

# A `disdel.catalog.models.torch_models.TorchNetwork`, or a module that does as it does.
TorchModel = Any


_CPU = torch.device("cpu")


class TorchTrainer(Trainer):
    """Trains a classifier.

    Args:
        model: a module from stored samples to logarithms of class probabilities, whose `save`
            writes the file of the model.
        optimizer: a name of `disdel.types.OPTIMIZERS`.
        learning_rate: None for the optimizer's own default.
        precision: what training steps compute in; scores are the saved model's, in float32.
        device: what it computes on; states come and go as arrays in RAM.
    """

    model_suffix = ".safetensors"

    def __init__(
        self,
        model: TorchModel,
        *,
        optimizer: str,
        learning_rate: float | None,
        precision: Precision = "float32",
        device: torch.device = _CPU,
    ) -> None:
        self._device = device
        self._model = model.to(device)
        self._parameters = list(model.parameters())
        self._optimizer = TorchOptimizer(optimizer, self._parameters, learning_rate)
        self._mixed = precision == "mixed_bfloat16"

    def train(
        self, x: Array, y: Array, micro_batches: int = 1, rate_factors: Array | None = None
    ) -> float:
        self._model.train()
        factors = np.ones(len(x)) if rate_factors is None else rate_factors
        parts = min(micro_batches, x.shape[1])
        loss_sum = torch.zeros((), device=self._device)
        block = zip(self._placed(x), self._placed(y).long(), factors, strict=True)
        for samples, labels, factor in block:
            gradients, loss = self._gradients(samples, labels, parts)
            self._optimizer.apply(gradients, float(factor))
            # Read once a block: reading it waits for it.
            loss_sum += loss
        return float(loss_sum)

    def _gradients(self, x: Tensor, y: Tensor, parts: int) -> tuple[list[Tensor], Tensor]:
        """The gradients of a batch's mean loss, and its loss summed over the samples."""
        totals: list[Tensor] = []
        loss_sum = torch.zeros((), device=self._device)
        for samples, labels in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True):
            # Weights are cast on their way in, so their gradients are float32. No loss is scaled:
            # bfloat16 has the range of float32.
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed):
                logarithms = self._model(samples)
            loss = nll_loss(logarithms.float(), labels, reduction="sum")
            gradients = torch.autograd.grad(loss / len(y), self._parameters)
            if totals:
                torch._foreach_add_(totals, gradients)
            else:
                totals = list(gradients)
            loss_sum += loss.detach()
        return totals, loss_sum

    def _placed(self, values: Array) -> Tensor:
        """An array where the model is."""
        tensor = torch.from_numpy(values)
        if self._device.type == "cpu":
            return tensor
        # From pinned memory it is copied while the device computes.
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def score(self, x: Array, y: Array) -> Scored:
        self._model.eval()
        labels = self._placed(y).long()
        with torch.inference_mode():
            logarithms = self._model(self._placed(x))
            loss_sum = nll_loss(logarithms, labels, reduction="sum")
            correct = (logarithms.argmax(1) == labels).sum()
        return Scored(float(loss_sum), int(correct))

    def state(self) -> dict[str, Array]:
        return {name: tensor.cpu().numpy().copy() for name, tensor in self._tensors()}

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
        """What a state holds, by name."""
        for name, tensor in self._model.state_dict().items():
            yield f"model/{name}", tensor
        yield f"{OPTIMIZER_PREFIX}step", self._optimizer.step
        for slot, values in self._optimizer.slots.items():
            for (name, _), value in zip(self._model.named_parameters(), values, strict=True):
                yield f"{OPTIMIZER_PREFIX}{slot}/{name}", value

    def save_model(self, path: Path) -> None:
        self._model.save(path)


def pin_threads(threads: int | None) -> None:
    """Give PyTorch `threads` CPU threads; None leaves it the machine's."""
    if threads is not None:
        torch.set_num_threads(threads)
