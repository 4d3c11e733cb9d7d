"""Built-in networks as PyTorch modules. Imports PyTorch; import it lazily.

A network is the same function as the Keras model of the same layers with the same weights: images
come as (batch, height, width, channels), padding falls where TensorFlow puts it, and flattening
goes through an image by row, column and channel. Fresh weights are drawn as Keras draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from disdel.models import layers_of
from disdel.models.builtin.layers import (
    Activation,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
    Relu,
    Residual,
    Shape,
    rectified_late,
)
from disdel.types.specs import ModelSpec


class TorchNetwork(nn.Module):  # type: ignore[misc]  # PyTorch's types are not loaded: slow
    """From stored samples to the logarithms of class probabilities, or to numbers in their units.

    Args:
        spec: the network and its shapes; its preprocessing is done inside.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.preprocessing = spec.preprocessing
        if spec.scaling is not None and spec.preprocessing == "standardise":
            self.register_buffer("mean", torch.tensor(spec.scaling.mean))
            self.register_buffer("deviation", torch.tensor(spec.scaling.deviation))
        # Plain numbers, which the specification beside a file's weights has.
        self.units = None
        if spec.learns == "number" and spec.scaling is not None:
            units = (spec.scaling.target_deviation, spec.scaling.target_mean)
            self.units = units if len(units[0]) > 1 else (units[0][0], units[1][0])
        self.layers = _chain(layers_of(spec), spec.input_shape)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, *input_shape); returns (batch, classes or numbers) float32."""
        x = x.float()
        if self.preprocessing == "bytes":
            x = x.mul(1 / 255)
        elif self.preprocessing == "standardise":
            x = (x - self.mean) / self.deviation
        if x.dim() == 4:
            # The bytes stay where they are: this is PyTorch's channels-last layout.
            x = x.permute(0, 3, 1, 2)
        outputs = self.layers(x)
        if self.units is None:
            return outputs
        deviation, mean = self.units
        if isinstance(deviation, tuple):
            deviation, mean = (outputs.new_tensor(u, dtype=torch.float32) for u in self.units)
        # Of a layer in half precision, a number of a large mean would keep no digits.
        return outputs.float() * deviation + mean


def _chain(layers: Sequence[Layer], shape: Shape) -> nn.Sequential:
    modules: list[nn.Module] = []
    for layer in rectified_late(layers):
        modules += _modules(layer, shape)
        shape = layer.output_shape(shape)
    return nn.Sequential(*modules)


@singledispatch
def _modules(layer: Layer, shape: Shape) -> list[nn.Module]:  # noqa: ARG001
    """The modules that are what `layer` describes, for inputs of `shape`."""
    raise TypeError(f"no PyTorch module for {layer!r}")


def _activation(name: Activation) -> list[nn.Module]:
    if name == "linear":
        return []
    # Training takes the logarithm of the probabilities, which is exact where they vanish.
    return [{"relu": nn.ReLU(), "tanh": nn.Tanh(), "softmax": _LogSoftmax()}[name]]


@_modules.register
def _(layer: Conv2D, shape: Shape) -> list[nn.Module]:
    conv = nn.Conv2d(shape[-1], layer.filters, layer.kernel, layer.strides, bias=layer.bias)
    _initialise(conv)
    padding: list[nn.Module] = []
    if layer.padding == "same":
        (top, bottom), (left, right) = (_same(size, layer) for size in shape[:2])
        if (top, left) == (bottom, right):
            conv.padding = (top, left)
        else:
            padding = [nn.ZeroPad2d((left, right, top, bottom))]
    return [*padding, conv, *_activation(layer.activation)]


def _same(size: int, layer: Conv2D) -> tuple[int, int]:
    """Zeros before and after an axis, as TensorFlow's `SAME` has them."""
    windows = -(-size // layer.strides)
    total = max(0, (windows - 1) * layer.strides + layer.kernel - size)
    return total // 2, total - total // 2


@_modules.register
def _(layer: BatchNorm, shape: Shape) -> list[nn.Module]:
    kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    # PyTorch's momentum is the share of the new.
    return [kind(shape[-1], eps=layer.epsilon, momentum=1 - layer.momentum)]


@_modules.register
def _(layer: Relu, shape: Shape) -> list[nn.Module]:  # noqa: ARG001 - dispatched on its type
    return [nn.ReLU()]


@_modules.register
def _(layer: MaxPool2D, shape: Shape) -> list[nn.Module]:  # noqa: ARG001
    return [nn.MaxPool2d(layer.size)]


@_modules.register
def _(layer: AveragePool2D, shape: Shape) -> list[nn.Module]:  # noqa: ARG001
    return [nn.AvgPool2d(layer.size)]


@_modules.register
def _(layer: GlobalAveragePool2D, shape: Shape) -> list[nn.Module]:  # noqa: ARG001
    return [_GlobalAveragePool()]


@_modules.register
def _(layer: Flatten, shape: Shape) -> list[nn.Module]:  # noqa: ARG001
    return [_Flatten()]


@_modules.register
def _(layer: Dense, shape: Shape) -> list[nn.Module]:
    dense = _Dense(shape[0], layer.units)
    _initialise(dense)
    return [dense, *_activation(layer.activation)]


@_modules.register
def _(layer: Residual, shape: Shape) -> list[nn.Module]:
    return [_Residual(_chain(layer.body, shape), _chain(layer.shortcut, shape))]


def _initialise(module: nn.Module) -> None:
    """Glorot's uniform weights and no bias, as in Keras."""
    nn.init.xavier_uniform_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class _Dense(nn.Linear):  # type: ignore[misc]
    """A linear layer whose products of float32 are oneDNN's on a CPU, where PyTorch takes BLAS.

    Of half precision PyTorch takes oneDNN's, too. In float32 the BLAS of its builds takes twice as
    long on a processor that is not of the maker of that library. But oneDNN keeps 1.5 MB of code
    for each size of batch, and where many clients train, the ends of their epochs have all sizes.
    """

    def forward(self, x: Tensor) -> Tensor:
        # As one asks for a batch; others are what is left of an epoch.
        is_asked_for = any(len(x) % size == 0 for size in _SIZES)
        if not is_asked_for or _product is None or not x.is_cpu or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        return _OneDnnLinear.apply(x, self.weight, self.bias)


class _OneDnnLinear(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _product(gradient, weight.t(), None, "none", [], "")
        of_weight = _product(gradient.t(), x.t(), None, "none", [], "")
        return of_x, of_weight, gradient.sum(0)


# Batches are asked for in multiples of these.
_SIZES = (8, 10)
# What PyTorch's compiler calls; None in builds without oneDNN. (a, b, …) is a @ b.t().
_product: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


class _LogSoftmax(nn.Module):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        # Its inputs are of half precision in a training step of mixed precision.
        return x.log_softmax(1, dtype=torch.float32)


class _GlobalAveragePool(nn.Module):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class _Flatten(nn.Module):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        return (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).flatten(1)


class _Residual(nn.Module):  # type: ignore[misc]
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)
