"""Keras layers in the forms that IREE compiles well. Imports Keras on JAX.

What a layer computes stays as it is; how it is written decides its speed. A convolution is a matrix
product over patches, and so is its kernel's gradient, summed over parts of the batch so that they
run in parallel; its input's gradient is a direct convolution. A pool remembers which sample of a
window was the largest. Batch normalisation is a weighted mean over the batch: samples that only
fill up a ragged batch have weight 0. docs/compiled.md has what each is worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
from jax import lax

from disdel.errors import UsageError

# Neither Keras nor JAX has useful types for these.
KerasLayer = Any
KerasModel = Any
JaxArray = Any

Strides = tuple[int, int]
Pads = tuple[tuple[int, int], tuple[int, int]]

# Parts of a contraction over all positions of a batch.
_PARTS = 64
_ROWS = _COLUMNS = 2
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

# As Keras writes them, they compile as they are.
_AS_THEY_ARE = (
    "InputLayer",
    "Rescaling",
    "Dense",
    "Flatten",
    "Reshape",
    "Activation",
    "ReLU",
    "LeakyReLU",
    "Softmax",
    "Add",
    "AveragePooling2D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "ZeroPadding2D",
)

_sample_weights: ContextVar[JaxArray] = ContextVar("sample_weights")


@contextmanager
def weighted_samples(weights: JaxArray) -> Iterator[None]:
    """Within, layers that look at a batch as a whole weigh its samples by `weights`, (batch,)."""
    token = _sample_weights.set(weights)
    try:
        yield
    finally:
        _sample_weights.reset(token)


def lowered(model: KerasModel) -> KerasModel:
    """A copy of `model` with its weights, made of layers that compile well.

    Raises:
        UsageError: a layer has no such form; the message names it and what to use instead.
    """
    copy = keras.models.clone_model(model, clone_function=_lowered_layer)
    copy.set_weights(model.get_weights())
    return copy


def _lowered_layer(layer: KerasLayer) -> KerasLayer:
    kind = type(layer).__name__
    if kind in _LOWERED:
        _check(layer)
        return _LOWERED[kind].from_config(layer.get_config())
    if kind in _AS_THEY_ARE:
        return layer.__class__.from_config(layer.get_config())
    known = ", ".join(sorted((*_LOWERED, *_AS_THEY_ARE)))
    raise UsageError(
        f"layer {layer.name!r} ({kind}) cannot be compiled: use layers of {known}, or train with "
        "--runtime tensorflow"
    )


def _check(layer: KerasLayer) -> None:
    """Raise `UsageError` for a setting that the lowered form of `layer` does not have."""
    wanted = {"data_format": "channels_last", "dilation_rate": (1, 1), "groups": 1, "axis": -1}
    for setting, value in wanted.items():
        found = getattr(layer, setting, value)
        last = setting == "axis" and found == len(layer.input.shape) - 1
        if found != value and not last:
            raise UsageError(
                f"layer {layer.name!r} ({type(layer).__name__}) cannot be compiled with "
                f"{setting}={found!r}: use {value!r}, or train with --runtime tensorflow"
            )


class _Conv2D(keras.layers.Conv2D):  # type: ignore[misc]  # Keras ships no types
    def call(self, inputs: JaxArray) -> JaxArray:
        strides: Strides = tuple(self.strides)
        size = self.kernel_size
        pads = lax.padtype_to_pads(inputs.shape[1:3], size, strides, self.padding.upper())
        kernel = keras.ops.convert_to_tensor(self.kernel)
        bias = (
            keras.ops.convert_to_tensor(self.bias)
            if self.use_bias
            else jnp.zeros((self.filters,), kernel.dtype)
        )
        output = convolution(inputs, kernel, bias, strides, tuple(pads))
        return output if self.activation is None else self.activation(output)


class _MaxPooling2D(keras.layers.MaxPooling2D):  # type: ignore[misc]
    def call(self, inputs: JaxArray) -> JaxArray:
        halves = tuple(self.pool_size) == tuple(self.strides) == (_ROWS, _COLUMNS)
        if halves and self.padding == "valid":
            return max_pool(inputs)
        return super().call(inputs)


class _BatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    def call(
        self, inputs: JaxArray, training: bool | None = None, mask: JaxArray | None = None
    ) -> JaxArray:
        if not training or not self.trainable or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        mean, variance = weighted_moments(inputs, _sample_weights.get())
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        scale = lax.rsqrt(variance + self.epsilon)
        if self.scale:
            scale = scale * keras.ops.convert_to_tensor(self.gamma)
        offset = -mean * scale
        if self.center:
            offset = offset + keras.ops.convert_to_tensor(self.beta)
        return inputs * scale + offset


_LOWERED: dict[str, KerasLayer] = {
    "Conv2D": _Conv2D,
    "MaxPooling2D": _MaxPooling2D,
    "BatchNormalization": _BatchNormalization,
}


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def convolution(
    x: JaxArray, kernel: JaxArray, bias: JaxArray, strides: Strides, pads: Pads
) -> JaxArray:
    """A convolution with a bias.

    Args:
        x: (batch, height, width, channels).
        kernel: (rows, columns, channels, filters).
        bias: (filters,).
        strides: along height and width.
        pads: zeros before and after, along height and width.

    Returns:
        (batch, height', width', filters).
    """
    patches = _patches(x, kernel.shape, strides, pads)
    product = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return product.reshape(*patches.shape[:3], -1) + bias


def _convolution_forward(
    x: JaxArray, kernel: JaxArray, bias: JaxArray, strides: Strides, pads: Pads
) -> tuple[JaxArray, tuple[JaxArray, JaxArray]]:
    return convolution(x, kernel, bias, strides, pads), (x, kernel)


def _convolution_backward(
    strides: Strides, pads: Pads, kept: tuple[JaxArray, JaxArray], gradient: JaxArray
) -> tuple[JaxArray, JaxArray, JaxArray]:
    x, kernel = kept
    patches = _patches(x, kernel.shape, strides, pads)
    for_kernel = _product_over_rows(
        patches.reshape(-1, patches.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    )

    def direct(samples: JaxArray) -> JaxArray:
        return lax.conv_general_dilated(
            samples, kernel, strides, pads, dimension_numbers=_DIMENSIONS
        )

    (for_x,) = jax.linear_transpose(direct, x)(gradient)
    for_bias = gradient.sum((1, 2)).sum(0)
    return for_x, for_kernel.reshape(kernel.shape), for_bias


convolution.defvjp(_convolution_forward, _convolution_backward)


def _patches(x: JaxArray, kernel: tuple[int, ...], strides: Strides, pads: Pads) -> JaxArray:
    """What the kernel sees at each position: (batch, height', width', rows * columns * channels).

    First the columns are laid side by side, then the rows of that: few and long copies.
    """
    rows, columns = kernel[:2]
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    height = (padded.shape[1] - rows) // strides[0] + 1
    width = (padded.shape[2] - columns) // strides[1] + 1

    def every(first: int, count: int, step: int) -> slice:
        return slice(first, first + (count - 1) * step + 1, step)

    shifted = [padded[:, :, every(j, width, strides[1])] for j in range(columns)]
    wide = jnp.concatenate(shifted, axis=-1)
    return jnp.concatenate([wide[:, every(i, height, strides[0])] for i in range(rows)], axis=-1)


def _product_over_rows(left: JaxArray, right: JaxArray) -> JaxArray:
    """`left.T @ right` for (rows, m) and (rows, n), where rows are many and m and n are few."""
    rows = len(left)
    parts = _PARTS
    while rows % parts:
        parts //= 2
    if parts == 1:
        return lax.dot_general(left, right, (((0,), (0,)), ((), ())))
    left, right = (side.reshape(parts, rows // parts, -1) for side in (left, right))
    return lax.dot_general(left, right, (((1,), (1,)), ((0,), (0,)))).sum(0)


@jax.custom_vjp
def max_pool(x: JaxArray) -> JaxArray:
    """The maximum over windows of 2×2 that do not overlap; a rest is dropped.

    Args:
        x: (batch, height, width, channels).

    Returns:
        (batch, height // 2, width // 2, channels).
    """
    return _largest(_windows(x))[0]


def _max_pool_forward(x: JaxArray) -> tuple[JaxArray, tuple[JaxArray, JaxArray]]:
    largest, where = _largest(_windows(x))
    return largest, (where, x)


def _max_pool_backward(kept: tuple[JaxArray, JaxArray], gradient: JaxArray) -> tuple[JaxArray]:
    """The gradient goes to the first of the largest in a window, as it does in XLA."""
    where, x = kept
    batch, height, width, channels = x.shape
    positions = lax.broadcasted_iota(jnp.int32, (1, 1, _ROWS, 1, 1, 1), 2) * _COLUMNS
    positions = positions + lax.broadcasted_iota(jnp.int32, (1, 1, 1, 1, _COLUMNS, 1), 4)
    spread = (slice(None), slice(None), None, slice(None), None)
    windows = jnp.where(where[spread] == positions, gradient[spread], 0.0)
    rows, columns = height // _ROWS * _ROWS, width // _COLUMNS * _COLUMNS
    whole = windows.reshape(batch, rows, columns, channels)
    return (jnp.pad(whole, ((0, 0), (0, height - rows), (0, width - columns), (0, 0))),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _windows(x: JaxArray) -> list[JaxArray]:
    """The samples of each window in row order, each (batch, height // 2, width // 2, channels)."""
    batch, height, width, channels = x.shape
    rows, columns = height // _ROWS, width // _COLUMNS
    whole = x[:, : rows * _ROWS, : columns * _COLUMNS]
    split = whole.reshape(batch, rows, _ROWS, columns, _COLUMNS, channels)
    return [split[:, :, i, :, j] for i in range(_ROWS) for j in range(_COLUMNS)]


def _largest(windows: list[JaxArray]) -> tuple[JaxArray, JaxArray]:
    """The maximum of each window, and the position in it of the first that is that large."""
    a, b, c, d = windows
    largest = jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    where = jnp.where(a == largest, 0, jnp.where(b == largest, 1, jnp.where(c == largest, 2, 3)))
    return largest, where


def weighted_moments(x: JaxArray, weights: JaxArray) -> tuple[JaxArray, JaxArray]:
    """Mean and variance of each channel over all positions of the samples, by their weight.

    Args:
        x: (batch, …, channels).
        weights: (batch,).

    Returns:
        Two of shape (channels,).
    """
    positions = x.reshape(len(x), -1, x.shape[-1])
    share = weights / (weights.sum() * positions.shape[1])
    # Over a sample's positions first: one reduction over everything does not fit IREE's stack.
    mean = share @ positions.sum(1)
    variance = share @ jnp.square(positions - mean).sum(1)
    return mean, variance
