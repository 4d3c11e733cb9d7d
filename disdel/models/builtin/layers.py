"""Networks as data: layers that know their shapes and sizes without a framework.

A built-in model is a tuple of these. The scheduler reads sizes from them on a host that has no
framework; an action turns them into the framework's own layers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from disdel.errors import UsageError

Shape = tuple[int, ...]
Activation = Literal["linear", "relu", "tanh", "softmax"]
Padding = Literal["valid", "same"]


class Layer(ABC):
    """One layer; shapes are without the batch axis, images (height, width, channels).

    Its sizes are its own; those of layers inside it are theirs, and `walk` visits them all.
    """

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

    def kept(self, shape: Shape) -> int:
        """Elements of its output for one sample that a backward pass needs later."""
        return math.prod(self.output_shape(shape))

    def inner(self, shape: Shape) -> Iterator[tuple[Layer, Shape]]:
        """The layers that are computed for inputs of `shape`, each with the shape of its own."""
        yield self, shape


def walk(layers: Sequence[Layer], shape: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Every layer of a chain, those inside of others included, with the shape that reaches it.

    Raises:
        UsageError: a layer cannot take the shape that reaches it.
    """
    for layer in layers:
        yield from layer.inner(shape)
        shape = layer.output_shape(shape)


def shape_after(layers: Sequence[Layer], shape: Shape) -> Shape:
    """The shape of the output of a chain of layers.

    Raises:
        UsageError: a layer cannot take the shape that reaches it.
    """
    for layer in layers:
        shape = layer.output_shape(shape)
    return shape


@dataclass(frozen=True, slots=True)
class Conv2D(Layer):
    """A convolution: `m·k²·n + n` parameters, `m·k²·n` without a bias.

    With padding `same` the output is the input's size divided by `strides`, rounded up, and zeros
    stand around the image: as many on the right and below as on the left and above, or one more.
    """

    filters: int
    kernel: int
    activation: Activation = "relu"
    strides: int = 1
    padding: Padding = "valid"
    bias: bool = True

    def output_shape(self, shape: Shape) -> Shape:
        same = self.padding == "same"
        height, width, _ = _image(self, shape, 1 if same else self.kernel)
        lost = 0 if same else self.kernel - 1
        return (
            math.ceil((height - lost) / self.strides),
            math.ceil((width - lost) / self.strides),
            self.filters,
        )

    def parameters(self, shape: Shape) -> int:
        return (shape[-1] * self.kernel**2 + self.bias) * self.filters

    def multiply_adds(self, shape: Shape) -> int:
        height, width, filters = self.output_shape(shape)
        return height * width * filters * self.kernel**2 * shape[-1]


@dataclass(frozen=True, slots=True)
class BatchNorm(Layer):
    """Batch normalisation over all axes but the last (Ioffe and Szegedy, 2015).

    Trains a scale and an offset a channel. The means and variances that scoring uses follow those
    of the batches: `new = momentum · old + (1 - momentum) · batch`.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def parameters(self, shape: Shape) -> int:
        return 2 * shape[-1]

    def kept(self, shape: Shape) -> int:  # noqa: ARG002
        # Its gradient is made of its input, which the layer before it keeps.
        return 0


@dataclass(frozen=True, slots=True)
class Relu(Layer):
    def output_shape(self, shape: Shape) -> Shape:
        return shape


@dataclass(frozen=True, slots=True)
class MaxPool2D(Layer):
    """The maximum over windows of `size` × `size` that do not overlap; a rest is dropped."""

    size: int = 2

    def output_shape(self, shape: Shape) -> Shape:
        height, width, channels = _image(self, shape, self.size)
        return (height // self.size, width // self.size, channels)


@dataclass(frozen=True, slots=True)
class AveragePool2D(Layer):
    """The mean over windows of `size` × `size` that do not overlap; a rest is dropped."""

    size: int = 2

    def output_shape(self, shape: Shape) -> Shape:
        height, width, channels = _image(self, shape, self.size)
        return (height // self.size, width // self.size, channels)


@dataclass(frozen=True, slots=True)
class GlobalAveragePool2D(Layer):
    """The mean of each channel."""

    def output_shape(self, shape: Shape) -> Shape:
        return _image(self, shape, 1)[2:]


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


@dataclass(frozen=True, slots=True)
class Residual(Layer):
    """The sum of what two chains of layers make of the same input (He et al., 2015).

    A shortcut without layers passes the input on as it is.
    """

    body: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()

    def output_shape(self, shape: Shape) -> Shape:
        after, beside = shape_after(self.body, shape), shape_after(self.shortcut, shape)
        if after != beside:
            raise UsageError(f"a shortcut of shape {beside} cannot be added to {after}")
        return after

    def kept(self, shape: Shape) -> int:  # noqa: ARG002
        # A sum passes its gradient on and needs neither of its terms.
        return 0

    def inner(self, shape: Shape) -> Iterator[tuple[Layer, Shape]]:
        yield from walk(self.body, shape)
        yield from walk(self.shortcut, shape)
        yield self, shape


def rectified_late(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """A chain of layers in which each rectifier before a max pool is behind it.

    The greatest of a window is the same, bit for bit, and so is its gradient; fewer are rectified.
    """
    chain: list[Layer] = []
    for layer in layers:
        last = chain[-1] if chain and isinstance(layer, MaxPool2D) else None
        if isinstance(last, Conv2D) and last.activation == "relu":
            chain[-1:] = [replace(last, activation="linear"), layer, Relu()]
        elif isinstance(last, Relu):
            chain[-1:] = [layer, last]
        else:
            chain.append(layer)
    return tuple(chain)


def _image(layer: Layer, shape: Shape, window: int) -> Shape:
    if len(shape) != 3:
        raise UsageError(f"{type(layer).__name__} takes images, not samples of shape {shape}")
    if min(shape[:2]) < window:
        raise UsageError(
            f"{type(layer).__name__} needs images of at least {window}×{window} where it stands, "
            f"and gets {shape[0]}×{shape[1]}"
        )
    return shape
