"""Keras layers whose computations IREE compiles well. Imports Keras on JAX.

What a layer computes stays as it is; how it is written, in `disdel.compiler.kernels`, decides its
speed. Two things are the step's and not the layer's. Batch normalisation is a weighted mean over
the batch: samples that only fill up a ragged batch have weight 0. What is drawn at random depends
on the step's own random state, and not on how often a layer was called before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import keras
from jax import lax

from disdel.compiler.convolutions import convolution, depthwise_convolution
from disdel.compiler.draws import Draws
from disdel.compiler.kernels import (
    average_pool,
    max_pool,
    max_pool_by_halves,
    weighted_moments,
)
from disdel.compiler.windows import Window

# Neither Keras nor JAX has useful types for these.
KerasLayer = Any
JaxArray = Any


@dataclass(frozen=True, slots=True)
class _Step:
    """What layers are told of the step that they are part of."""

    weights: JaxArray
    draws: Draws
    clients: JaxArray


_step: ContextVar[_Step] = ContextVar("step")
_wide: ContextVar[bool] = ContextVar("wide", default=False)


@contextmanager
def training_step(
    weights: JaxArray, draws: Draws, clients: JaxArray | float = 1.0
) -> Iterator[None]:
    """Within, layers weigh the batch's samples by `weights`, (batch,), and take from `draws`.

    Averages of batch statistics move as far as in so many steps of one client, a scalar float32.
    """
    token = _step.set(_Step(weights, draws, clients))
    try:
        yield
    finally:
        _step.reset(token)


@contextmanager
def vectors(*, wide: bool) -> Iterator[None]:
    """Within, layers are written for CPUs with vectors of 64 bytes, or for others."""
    token = _wide.set(wide)
    try:
        yield
    finally:
        _wide.reset(token)


def _images(x: JaxArray) -> JaxArray:
    """Sequences (batch, length, channels) as images of one row; images as they are."""
    return x[:, None] if x.ndim == 3 else x


def _window(x: JaxArray, size: Any, strides: Any, padding: str, dilation: Any = (1, 1)) -> Window:
    """The window of a Keras layer over images `x`; settings of sequences are for their columns."""

    def pair(setting: Any) -> tuple[int, int]:
        rows, columns = (1, *setting) if len(setting) == 1 else setting
        return rows, columns

    size, strides, dilation = pair(size), pair(strides), pair(dilation)
    reach = [(n - 1) * step + 1 for n, step in zip(size, dilation, strict=True)]
    if padding == "causal":
        pads = [(0, 0), (reach[1] - 1, 0)]
    else:
        pads = lax.padtype_to_pads(x.shape[1:3], reach, strides, padding.upper())
    return Window(size, strides, (tuple(pads[0]), tuple(pads[1])), dilation)


class _Convolution:
    """`call` of Keras's convolutions of sequences and images."""

    def call(self: Any, inputs: JaxArray) -> JaxArray:
        x, kernel = _images(inputs), keras.ops.convert_to_tensor(self.kernel)
        if kernel.ndim == 3:
            kernel = kernel[None]
        window = _window(x, self.kernel_size, self.strides, self.padding, self.dilation_rate)
        zeros = jnp.zeros((self.filters,), kernel.dtype)
        bias = keras.ops.convert_to_tensor(self.bias) if self.use_bias else zeros
        output = _grouped(x, kernel, bias, window, self.groups)
        return _finished(self, output if inputs.ndim == 4 else output[:, 0])


def _grouped(
    x: JaxArray, kernel: JaxArray, bias: JaxArray, window: Window, groups: int
) -> JaxArray:
    """A convolution whose outputs see a group of the channels each."""
    wide = _wide.get()
    if groups == 1:
        return convolution(x, kernel, bias, window, wide)
    if kernel.shape[2] == 1:
        # (rows, columns, 1, groups * multiplier) in the order of a depthwise kernel's outputs.
        by_channel = kernel.reshape(*kernel.shape[:2], groups, -1)
        return depthwise_convolution(x, by_channel, window) + bias
    parts = zip(
        jnp.split(x, groups, -1),
        jnp.split(kernel, groups, -1),
        jnp.split(bias, groups),
        strict=True,
    )
    return jnp.concatenate([convolution(*part, window, wide) for part in parts], axis=-1)


def _finished(layer: KerasLayer, output: JaxArray) -> JaxArray:
    return output if layer.activation is None else layer.activation(output)


class _Conv1D(_Convolution, keras.layers.Conv1D):  # type: ignore[misc]  # Keras ships no types
    pass


class _Conv2D(_Convolution, keras.layers.Conv2D):  # type: ignore[misc]
    pass


class _DepthwiseConvolution:
    """`call` of Keras's depthwise convolutions."""

    def call(self: Any, inputs: JaxArray) -> JaxArray:
        output = _depthwise(self, inputs, self.kernel)
        if self.use_bias:
            output = output + keras.ops.convert_to_tensor(self.bias)
        return _finished(self, output)


def _depthwise(layer: KerasLayer, inputs: JaxArray, kernel: Any) -> JaxArray:
    x, kernel = _images(inputs), keras.ops.convert_to_tensor(kernel)
    if kernel.ndim == 3:
        kernel = kernel[None]
    window = _window(x, layer.kernel_size, layer.strides, layer.padding, layer.dilation_rate)
    output = depthwise_convolution(x, kernel, window)
    return output if inputs.ndim == 4 else output[:, 0]


class _DepthwiseConv1D(_DepthwiseConvolution, keras.layers.DepthwiseConv1D):  # type: ignore[misc]
    pass


class _DepthwiseConv2D(_DepthwiseConvolution, keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    pass


class _SeparableConvolution:
    """`call` of Keras's separable convolutions: a depthwise one, and one of a single sample."""

    def call(self: Any, inputs: JaxArray) -> JaxArray:
        output = _depthwise(self, inputs, self.depthwise_kernel)
        pointwise = keras.ops.convert_to_tensor(self.pointwise_kernel)
        output = output @ pointwise.reshape(pointwise.shape[-2:])
        if self.use_bias:
            output = output + keras.ops.convert_to_tensor(self.bias)
        return _finished(self, output)


class _SeparableConv1D(_SeparableConvolution, keras.layers.SeparableConv1D):  # type: ignore[misc]
    pass


class _SeparableConv2D(_SeparableConvolution, keras.layers.SeparableConv2D):  # type: ignore[misc]
    pass


class _MaxPooling:
    """`call` of Keras's pools that take the largest, with the activation before them."""

    activation = None

    def call(self: Any, inputs: JaxArray) -> JaxArray:
        x = _images(inputs)
        window = _window(x, self.pool_size, self.strides, self.padding)
        if window.size == window.strides == (2, 2) and self.padding == "valid":
            output = max_pool_by_halves(x)
        else:
            output = max_pool(x, window)
        return _finished(self, output if inputs.ndim == 4 else output[:, 0])


class _MaxPooling1D(_MaxPooling, keras.layers.MaxPooling1D):  # type: ignore[misc]
    pass


class _MaxPooling2D(_MaxPooling, keras.layers.MaxPooling2D):  # type: ignore[misc]
    pass


class _AveragePooling:
    """`call` of Keras's pools that take the mean."""

    def call(self: Any, inputs: JaxArray) -> JaxArray:
        x = _images(inputs)
        output = average_pool(x, _window(x, self.pool_size, self.strides, self.padding))
        return output if inputs.ndim == 4 else output[:, 0]


class _AveragePooling1D(_AveragePooling, keras.layers.AveragePooling1D):  # type: ignore[misc]
    pass


class _AveragePooling2D(_AveragePooling, keras.layers.AveragePooling2D):  # type: ignore[misc]
    pass


class _BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    def call(
        self, inputs: JaxArray, training: bool | None = None, mask: JaxArray | None = None
    ) -> JaxArray:
        if not training or not self.trainable or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        mean, variance = weighted_moments(inputs, _step.get().weights)
        clients = _step.get().clients
        # A power by 1 may be rounded, and so may 1 without it.
        power = jnp.float32(self.momentum) ** clients
        stays = jnp.where(clients == 1, self.momentum, power)
        comes = jnp.where(clients == 1, 1 - self.momentum, 1 - power)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * stays + value * comes)
        scale = lax.rsqrt(variance + self.epsilon)
        if self.scale:
            scale = scale * keras.ops.convert_to_tensor(self.gamma)
        offset = -mean * scale
        if self.center:
            offset = offset + keras.ops.convert_to_tensor(self.beta)
        return inputs * scale + offset


class _Dropping:
    """`call` of Keras's layers that set inputs to 0."""

    def call(self: Any, inputs: JaxArray, training: bool = False) -> JaxArray:
        if not training or self.rate == 0:
            return inputs
        shape = self._shape_of_mask(inputs.shape)
        kept = _step.get().draws.keeps(self.rate, shape)
        # All of them are dropped at a rate of 1, and nothing is to be divided by.
        scale = 1 / (1 - self.rate) if self.rate < 1 else 0.0
        return jnp.where(kept, inputs * scale, 0.0)


class _Dropout(_Dropping, keras.layers.Dropout):  # type: ignore[misc]
    def _shape_of_mask(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        given = self.noise_shape or shape
        return tuple(n if n is not None else size for n, size in zip(given, shape, strict=True))


class _SpatialDropout1D(_Dropping, keras.layers.SpatialDropout1D):  # type: ignore[misc]
    def _shape_of_mask(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[0], 1, shape[-1]


class _SpatialDropout2D(_Dropping, keras.layers.SpatialDropout2D):  # type: ignore[misc]
    def _shape_of_mask(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[0], 1, 1, shape[-1]


class _GaussianNoise(keras.layers.GaussianNoise):  # type: ignore[misc]
    def call(self, inputs: JaxArray, training: bool = False) -> JaxArray:
        if not training or self.stddev == 0:
            return inputs
        return inputs + self.stddev * _step.get().draws.normal(inputs.shape)


class _GaussianDropout(keras.layers.GaussianDropout):  # type: ignore[misc]
    def call(self, inputs: JaxArray, training: bool = False) -> JaxArray:
        if not training or self.rate == 0:
            return inputs
        spread = math.sqrt(self.rate / (1 - self.rate))
        return inputs * (1 + spread * _step.get().draws.normal(inputs.shape))


# Those that take from `Draws`.
DRAWING = (_Dropping, _GaussianNoise, _GaussianDropout)

# By the names of Keras's.
LOWERED: dict[str, KerasLayer] = {
    layer.__name__.removeprefix("_"): layer
    for layer in (
        _Conv1D,
        _Conv2D,
        _DepthwiseConv1D,
        _DepthwiseConv2D,
        _SeparableConv1D,
        _SeparableConv2D,
        _MaxPooling1D,
        _MaxPooling2D,
        _AveragePooling1D,
        _AveragePooling2D,
        _BatchNormalization,
        _Dropout,
        _SpatialDropout1D,
        _SpatialDropout2D,
        _GaussianNoise,
        _GaussianDropout,
    )
}
