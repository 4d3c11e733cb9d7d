"""Convolutions, written as IREE compiles them well; pure functions of JAX arrays.

A convolution of images that have many channels is a sum of matrix products, one for each offset in
the window: of a shifted slice of the images and the kernel there. So are its gradients. Where the
CPU has vectors of 64 bytes, a loop nest over all of them at once is faster: IREE's own, which needs
rows of some length, and more registers than there are of shorter vectors. Of few channels a product
is too thin: there the offsets are laid side by side as patches, for a single one. A depthwise
convolution is a sum over shifted slices. docs/compiled.md has what each is worth.
"""

from __future__ import annotations

import functools
import itertools
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from disdel.compiler.windows import Pair, Window
from disdel.types.units import MIB

# JAX has no useful types for these.
JaxArray = Any

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Of a product by offsets: fewer are laid side by side.
_CHANNELS_AT_LEAST = 16
# A product for each takes the compiler a while.
_OFFSETS_AT_MOST = 32
# Patches of so many stay in the caches, and a single product compiles faster than many.
_PATCHES_AT_MOST_BYTES = 4 * MIB
_FLOAT_BYTES = 4
# Of IREE's loop nest, which computes eight positions of a row at once.
_COLUMNS_AT_LEAST = 7
# Outputs that the loop nest may compute for each that has a part in a gradient.
_WASTE_AT_MOST = 1.5
# Parts of a contraction over all positions of a batch, which run in parallel.
_PARTS = 64


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def convolution(
    x: JaxArray, kernel: JaxArray, bias: JaxArray, window: Window, wide: bool
) -> JaxArray:
    """A convolution with a bias.

    Args:
        x: (batch, height, width, channels).
        kernel: (rows, columns, channels, filters).
        bias: (filters,).
        window: of (rows, columns).
        wide: whether it is for CPUs with vectors of 64 bytes.

    Returns:
        (batch, height', width', filters).
    """
    channels, filters = kernel.shape[2:]
    positions = window.positions(x.shape[1:3])
    # Of one channel, the loop nest has no vectors, and a product is a multiplication.
    multiplies = channels == 1 and math.prod(window.size) <= _OFFSETS_AT_MOST
    if wide and channels > 1 and positions[1] >= _COLUMNS_AT_LEAST:
        if channels < _CHANNELS_AT_LEAST:
            # Samples as stored are converted beforehand: within the loop nest, a step of it is no
            # vector's any more.
            x = lax.optimization_barrier(x)  # type: ignore[no-untyped-call]
        return _direct(x, kernel, window) + bias
    if not multiplies and _has_patches(len(x), kernel.shape, positions):
        return _product(_patches(x, window), kernel.reshape(-1, filters)) + bias
    products = map(_product, window.slices(x), _by_offset(kernel))
    return functools.reduce(jnp.add, products) + bias


def _convolution_forward(
    x: JaxArray, kernel: JaxArray, bias: JaxArray, window: Window, wide: bool
) -> tuple[JaxArray, tuple[JaxArray, JaxArray]]:
    return convolution(x, kernel, bias, window, wide), (x, kernel)


def _convolution_backward(
    window: Window, wide: bool, kept: tuple[JaxArray, JaxArray], gradient: JaxArray
) -> tuple[JaxArray, JaxArray, JaxArray]:
    x, kernel = kept
    for_bias = gradient.sum((1, 2)).sum(0)
    return (
        _for_input(x.shape[1:3], kernel, window, gradient, wide=wide),
        _for_kernel(x, kernel.shape, window, gradient),
        for_bias,
    )


convolution.defvjp(_convolution_forward, _convolution_backward)


def _for_input(
    shape: Pair, kernel: JaxArray, window: Window, gradient: JaxArray, *, wide: bool
) -> JaxArray:
    """The gradient of images of `shape`."""
    height, width = shape
    computed = height * width / (gradient.shape[1] * gradient.shape[2])
    if wide and width >= _COLUMNS_AT_LEAST and computed <= _WASTE_AT_MOST:
        images = jnp.zeros((len(gradient), *shape, kernel.shape[2]), gradient.dtype)
        transposed = jax.linear_transpose(partial(_direct, kernel=kernel, window=window), images)
        (found,) = transposed(gradient)
        return found
    if _has_patches(len(gradient), kernel.shape, gradient.shape[1:3]):
        patches = _product(gradient, kernel.reshape(-1, kernel.shape[-1]).T)
        return window.gathered_patches(patches, shape)
    return window.gathered([_product(gradient, part.T) for part in _by_offset(kernel)], shape)


def _for_kernel(
    x: JaxArray, shape: tuple[int, ...], window: Window, gradient: JaxArray
) -> JaxArray:
    """The gradient of a kernel of `shape`."""
    rows, columns, channels, filters = shape
    right = gradient.reshape(-1, filters)
    if _has_patches(len(x), shape, gradient.shape[1:3]):
        # Column after column: the compiler keeps what it finds computed twice, as patches are in
        # another order, and a deep network's patches are large.
        patches = _patches_by_column(x, window)
        product = _product_over_rows(patches.reshape(-1, patches.shape[-1]), right)
        return product.reshape(columns, rows, channels, filters).swapaxes(0, 1)
    parts = [_product_over_rows(part.reshape(-1, channels), right) for part in window.slices(x)]
    return jnp.stack(parts).reshape(shape)


def _has_patches(batch: int, kernel: tuple[int, ...], positions: Pair) -> bool:
    """Whether a convolution has patches where it is no loop nest."""
    rows, columns, channels, _ = kernel
    size = batch * math.prod(positions) * rows * columns * channels * _FLOAT_BYTES
    return (
        channels < _CHANNELS_AT_LEAST
        or rows * columns > _OFFSETS_AT_MOST
        or size <= _PATCHES_AT_MOST_BYTES
    )


def _direct(x: JaxArray, kernel: JaxArray, window: Window) -> JaxArray:
    return lax.conv_general_dilated(
        x,
        kernel,
        window.strides,
        window.pads,
        rhs_dilation=window.dilation,
        dimension_numbers=_DIMENSIONS,
    )


def _product(x: JaxArray, right: JaxArray) -> JaxArray:
    """Images whose channels are multiplied by a matrix."""
    return (x.reshape(-1, x.shape[-1]) @ right).reshape(*x.shape[:-1], -1)


def _by_offset(kernel: JaxArray) -> list[JaxArray]:
    """The matrix (channels, filters) of each sample of the window, in row order."""
    rows, columns = kernel.shape[:2]
    return [kernel[i, j] for i, j in itertools.product(range(rows), range(columns))]


def _product_over_rows(left: JaxArray, right: JaxArray) -> JaxArray:
    """`left.T @ right` for (rows, m) and (rows, n)."""
    (rows, m), n = left.shape, right.shape[1]
    # Together no more than a quarter of what is read.
    most = rows * (m + n) / (4 * m * n)
    parts = _PARTS
    while parts > 1 and (rows % parts or parts > most):
        parts //= 2
    if parts == 1:
        return lax.dot_general(left, right, (((0,), (0,)), ((), ())))
    left, right = (side.reshape(parts, rows // parts, -1) for side in (left, right))
    return lax.dot_general(left, right, (((1,), (1,)), ((0,), (0,)))).sum(0)


def _patches(x: JaxArray, window: Window) -> JaxArray:
    """What the kernel sees at each position: (batch, height', width', rows * columns * channels).

    First the columns are laid side by side, then the rows of that: few and long copies.
    """
    rows, columns = window.size
    height, width = window.positions(x.shape[1:3])
    padded = window.padded(x)
    wide = jnp.concatenate([padded[:, :, window.seen(1, j, width)] for j in range(columns)], -1)
    return jnp.concatenate([wide[:, window.seen(0, i, height)] for i in range(rows)], axis=-1)


def _patches_by_column(x: JaxArray, window: Window) -> JaxArray:
    """As `_patches`, a patch being column after column: (…, columns * rows * channels)."""
    rows, columns = window.size
    height, width = window.positions(x.shape[1:3])
    padded = window.padded(x)
    tall = jnp.concatenate([padded[:, window.seen(0, i, height)] for i in range(rows)], -1)
    return jnp.concatenate([tall[:, :, window.seen(1, j, width)] for j in range(columns)], axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_convolution(x: JaxArray, kernel: JaxArray, window: Window) -> JaxArray:
    """A convolution of each channel by itself.

    Args:
        x: (batch, height, width, channels).
        kernel: (rows, columns, channels, multiplier).
        window: of (rows, columns).

    Returns:
        (batch, height', width', channels * multiplier), a channel's outputs side by side.
    """
    each = window.slices(_repeated(x, kernel))
    return sum(part * weight for part, weight in zip(each, _outputs_by_offset(kernel), strict=True))


def _depthwise_forward(
    x: JaxArray, kernel: JaxArray, window: Window
) -> tuple[JaxArray, tuple[JaxArray, JaxArray]]:
    return depthwise_convolution(x, kernel, window), (x, kernel)


def _depthwise_backward(
    window: Window, kept: tuple[JaxArray, JaxArray], gradient: JaxArray
) -> tuple[JaxArray, JaxArray]:
    x, kernel = kept
    each = window.slices(_repeated(x, kernel))
    # Over a sample's positions first: one reduction over everything does not fit IREE's stack.
    weights = jnp.stack([(part * gradient).sum((1, 2)).sum(0) for part in each])
    for_x = window.gathered(
        [gradient * weight for weight in _outputs_by_offset(kernel)], x.shape[1:3]
    )
    return for_x.reshape(*x.shape, -1).sum(-1), weights.reshape(kernel.shape)


depthwise_convolution.defvjp(_depthwise_forward, _depthwise_backward)


def _repeated(x: JaxArray, kernel: JaxArray) -> JaxArray:
    """Each channel as often as a depthwise kernel has outputs for it."""
    if kernel.shape[-1] == 1:
        return x
    shape = (*x.shape, kernel.shape[-1])
    return jnp.broadcast_to(x[..., None], shape).reshape(*x.shape[:-1], -1)


def _outputs_by_offset(kernel: JaxArray) -> JaxArray:
    """A depthwise kernel as (rows * columns, channels * multiplier)."""
    return kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)
