"""Networks as data: layers that know their shapes and sizes without a framework.

A built-in model is a tuple of these. The scheduler reads sizes from them on a host that has no
framework; an action turns them into the framework's own layers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from disdel.errors import UsageError

Shape = tuple[int, ...]
Activation = Literal["linear", "relu", "tanh", "softmax"]


class Layer(ABC):
    """One layer; shapes are without the batch axis, images (height, width, channels)."""

    @abstractmethod
    def output_shape(self, shape: Shape) -> Shape:
        """The shape of the output for inputs of `shape`.

        Raises:
            UsageError: the layer cannot take such inputs.
        """

    def parameters(self, shape: Shape) -> int:  # noqa: ARG002 - most layers have none
        """Trainable parameters for inputs of `shape`."""
        return 0

    def multiply_adds(self, shape: Shape) -> int:  # noqa: ARG002
        """Multiply-adds of the forward pass for one sample."""
        return 0


@dataclass(frozen=True, slots=True)
class Conv2D(Layer):
    """A convolution with a bias, stride 1, no padding: `m·k²·n + n` parameters."""

    filters: int
    kernel: int
    activation: Activation = "relu"

    def output_shape(self, shape: Shape) -> Shape:
        height, width, _ = _image(self, shape, self.kernel)
        return (height - self.kernel + 1, width - self.kernel + 1, self.filters)

    def parameters(self, shape: Shape) -> int:
        return shape[-1] * self.kernel**2 * self.filters + self.filters

    def multiply_adds(self, shape: Shape) -> int:
        height, width, filters = self.output_shape(shape)
        return height * width * filters * self.kernel**2 * shape[-1]


@dataclass(frozen=True, slots=True)
class MaxPool2D(Layer):
    """The maximum over windows of `size` × `size` that do not overlap; a rest is dropped."""

    size: int = 2

    def output_shape(self, shape: Shape) -> Shape:
        height, width, channels = _image(self, shape, self.size)
        return (height // self.size, width // self.size, channels)


@dataclass(frozen=True, slots=True)
class Flatten(Layer):
    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)


@dataclass(frozen=True, slots=True)
class Dense(Layer):
    units: int
    activation: Activation = "relu"

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise UsageError(f"a dense layer takes vectors, not samples of shape {shape}")
        return (self.units,)

    def parameters(self, shape: Shape) -> int:
        return shape[0] * self.units + self.units

    def multiply_adds(self, shape: Shape) -> int:
        return shape[0] * self.units


def _image(layer: Layer, shape: Shape, window: int) -> Shape:
    if len(shape) != 3:
        raise UsageError(f"{type(layer).__name__} takes images, not samples of shape {shape}")
    if min(shape[:2]) < window:
        raise UsageError(
            f"{type(layer).__name__} needs images of at least {window}×{window} where it stands, "
            f"and gets {shape[0]}×{shape[1]}"
        )
    return shape
