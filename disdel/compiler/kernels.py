"""Kernels: what layers compute, written as IREE compiles it well; pure functions of JAX arrays.

A convolution is a matrix product over patches, and so is its weights' gradient, summed over parts
of the batch so that they run in parallel; its input's gradient is a direct convolution. A depthwise
convolution and a pool are sums and maxima over shifted slices, and a pool remembers which sample of
a window was the largest. docs/compiled.md has what each is worth.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# JAX has no useful types for these.
JaxArray = Any

Pair = tuple[int, int]

# Parts of a contraction over all positions of a batch.
_PARTS = 64
_ROWS = _COLUMNS = 2
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


@dataclass(frozen=True, slots=True)
class Window:
    """What one position of an output sees of images; pairs are along height and width.

    Attributes:
        size: samples.
        strides: from one position to the next.
        pads: zeros before and after.
        dilation: from one sample to the next.
    """

    size: Pair
    strides: Pair
    pads: tuple[Pair, Pair]
    dilation: Pair = (1, 1)

    def positions(self, shape: Pair) -> Pair:
        """The output's height and width for images of `shape`."""
        found = (
            (length + sum(pads) - (size - 1) * dilation - 1) // stride + 1
            for length, size, stride, pads, dilation in zip(
                shape, self.size, self.strides, self.pads, self.dilation, strict=True
            )
        )
        height, width = found
        return height, width

    def padded(self, x: JaxArray, fill: float = 0.0) -> JaxArray:
        return jnp.pad(x, ((0, 0), *self.pads, (0, 0)), constant_values=fill)

    def seen(self, axis: int, offset: int, count: int) -> slice:
        """Along height (0) or width (1) of padded images, what `count` positions see first to last
        at `offset` in their window.
        """
        start, stride = offset * self.dilation[axis], self.strides[axis]
        return slice(start, start + (count - 1) * stride + 1, stride)

    def slices(self, x: JaxArray, fill: float = 0.0) -> list[JaxArray]:
        """The samples of each window in row order, each (batch, height', width', channels)."""
        height, width = self.positions(x.shape[1:3])
        padded = self.padded(x, fill)
        return [
            padded[:, self.seen(0, i, height), self.seen(1, j, width)]
            for i, j in itertools.product(*map(range, self.size))
        ]

    def gathered(self, parts: list[JaxArray], shape: Pair) -> JaxArray:
        """The transpose of `slices`: images of `shape` to which each part is added where it was."""
        tall, wide = (length + sum(pads) for length, pads in zip(shape, self.pads, strict=True))
        offsets = itertools.product(*map(range, self.size))
        total = functools.reduce(
            jnp.add,
            (
                self._spread(part, i, j, (tall, wide))
                for part, (i, j) in zip(parts, offsets, strict=True)
            ),
        )
        (top, _), (left, _) = self.pads
        return total[:, top : top + shape[0], left : left + shape[1]]

    def _spread(self, part: JaxArray, i: int, j: int, shape: Pair) -> JaxArray:
        """`part` at the strides of the window's sample (i, j), with zeros between and around."""
        batch, height, width, channels = part.shape
        rows, columns = self.strides
        if (rows, columns) != (1, 1):
            # Beside a new axis: padding between samples compiles to scattered copies.
            part = part[:, :, None, :, None]
            part = jnp.pad(part, ((0, 0), (0, 0), (0, rows - 1), (0, 0), (0, columns - 1), (0, 0)))
            part = part.reshape(batch, height * rows, width * columns, channels)
            part = part[:, : (height - 1) * rows + 1, : (width - 1) * columns + 1]
        top, left = i * self.dilation[0], j * self.dilation[1]
        around = (
            (0, 0),
            (top, shape[0] - top - part.shape[1]),
            (left, shape[1] - left - part.shape[2]),
            (0, 0),
        )
        return jnp.pad(part, around)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def convolution(
    x: JaxArray,
    kernel: JaxArray,
    bias: JaxArray,
    window: Window,
    lean: bool = False,  # noqa: ARG001 - of the gradient
) -> JaxArray:
    """A convolution with a bias.

    Args:
        x: (batch, height, width, channels).
        kernel: (rows, columns, channels, filters).
        bias: (filters,).
        window: of (rows, columns).
        lean: whether the patches are made anew for the gradient, instead of kept for it.

    Returns:
        (batch, height', width', filters).
    """
    patches = _patches(x, window)
    product = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return product.reshape(*patches.shape[:3], -1) + bias


def _convolution_forward(
    x: JaxArray, kernel: JaxArray, bias: JaxArray, window: Window, lean: bool
) -> tuple[JaxArray, tuple[JaxArray, JaxArray]]:
    return convolution(x, kernel, bias, window, lean), (x, kernel)


def _convolution_backward(
    window: Window, lean: bool, kept: tuple[JaxArray, JaxArray], gradient: JaxArray
) -> tuple[JaxArray, JaxArray, JaxArray]:
    x, kernel = kept
    # The compiler keeps what it finds computed twice in one way. In the other it is made anew.
    patches = _patches_by_column(x, window) if lean else _patches(x, window)
    for_kernel = _product_over_rows(
        patches.reshape(-1, patches.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    )
    if lean:
        rows, columns, *others = kernel.shape
        for_kernel = for_kernel.reshape(columns, rows, *others).swapaxes(0, 1)

    def direct(samples: JaxArray) -> JaxArray:
        return lax.conv_general_dilated(
            samples,
            kernel,
            window.strides,
            window.pads,
            rhs_dilation=window.dilation,
            dimension_numbers=_DIMENSIONS,
        )

    (for_x,) = jax.linear_transpose(direct, x)(gradient)
    for_bias = gradient.sum((1, 2)).sum(0)
    return for_x, for_kernel.reshape(kernel.shape), for_bias


convolution.defvjp(_convolution_forward, _convolution_backward)


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
    return sum(part * weight for part, weight in zip(each, _by_offset(kernel), strict=True))


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
    for_x = window.gathered([gradient * weight for weight in _by_offset(kernel)], x.shape[1:3])
    return for_x.reshape(*x.shape, -1).sum(-1), weights.reshape(kernel.shape)


depthwise_convolution.defvjp(_depthwise_forward, _depthwise_backward)


def _repeated(x: JaxArray, kernel: JaxArray) -> JaxArray:
    """Each channel as often as a depthwise kernel has outputs for it."""
    if kernel.shape[-1] == 1:
        return x
    shape = (*x.shape, kernel.shape[-1])
    return jnp.broadcast_to(x[..., None], shape).reshape(*x.shape[:-1], -1)


def _by_offset(kernel: JaxArray) -> JaxArray:
    """A depthwise kernel as (rows * columns, channels * multiplier)."""
    return kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)


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


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: JaxArray, window: Window) -> JaxArray:
    """The largest of each window and channel, (batch, height', width', channels)."""
    return _largest(window.slices(x, -jnp.inf))[0]


def _max_pool_forward(x: JaxArray, window: Window) -> tuple[JaxArray, tuple[JaxArray, JaxArray]]:
    largest, where = _largest(window.slices(x, -jnp.inf))
    return largest, (where, x)


def _max_pool_backward(
    window: Window, kept: tuple[JaxArray, JaxArray], gradient: JaxArray
) -> tuple[JaxArray]:
    """The gradient goes to the first of the largest in a window, as it does in XLA."""
    where, x = kept
    parts = [
        jnp.where(where == position, gradient, 0.0)
        for position in range(window.size[0] * window.size[1])
    ]
    return (window.gathered(parts, x.shape[1:3]),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def average_pool(x: JaxArray, window: Window) -> JaxArray:
    """The mean of each window and channel without what is padding, as `max_pool`."""
    return sum(window.slices(x)) / _counts(window, x.shape[1:3])


def _average_pool_forward(x: JaxArray, window: Window) -> tuple[JaxArray, JaxArray]:
    return average_pool(x, window), x


def _average_pool_backward(window: Window, x: JaxArray, gradient: JaxArray) -> tuple[JaxArray]:
    share = gradient / _counts(window, x.shape[1:3])
    return (window.gathered([share] * (window.size[0] * window.size[1]), x.shape[1:3]),)


average_pool.defvjp(_average_pool_forward, _average_pool_backward)


def _counts(window: Window, shape: Pair) -> JaxArray:
    """How many samples each window has that are no padding, (height', width', 1)."""
    axes = []
    for axis, count in enumerate(window.positions(shape)):
        before = window.pads[axis][0]
        starts = np.arange(count) * window.strides[axis] - before
        first, stop = np.maximum(starts, 0), np.minimum(starts + window.size[axis], shape[axis])
        axes.append((stop - first).astype(np.float32))
    return np.multiply.outer(*axes)[:, :, None]


@jax.custom_vjp
def max_pool_by_halves(x: JaxArray) -> JaxArray:
    """`max_pool` over windows of 2×2 that do not overlap, the fastest; a rest is dropped.

    Args:
        x: (batch, height, width, channels).

    Returns:
        (batch, height // 2, width // 2, channels).
    """
    return _largest(_windows(x))[0]


def _halves_forward(x: JaxArray) -> tuple[JaxArray, tuple[JaxArray, JaxArray]]:
    largest, where = _largest(_windows(x))
    return largest, (where, x)


def _halves_backward(kept: tuple[JaxArray, JaxArray], gradient: JaxArray) -> tuple[JaxArray]:
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


max_pool_by_halves.defvjp(_halves_forward, _halves_backward)


def _windows(x: JaxArray) -> list[JaxArray]:
    """The samples of each window in row order, each (batch, height // 2, width // 2, channels)."""
    batch, height, width, channels = x.shape
    rows, columns = height // _ROWS, width // _COLUMNS
    whole = x[:, : rows * _ROWS, : columns * _COLUMNS]
    split = whole.reshape(batch, rows, _ROWS, columns, _COLUMNS, channels)
    return [split[:, :, i, :, j] for i in range(_ROWS) for j in range(_COLUMNS)]


def _largest(windows: list[JaxArray]) -> tuple[JaxArray, JaxArray]:
    """The maximum of each window, and the position in it of the first that is that large."""
    largest = functools.reduce(jnp.maximum, windows)
    where = jnp.full(largest.shape, len(windows) - 1, jnp.int32)
    for position in reversed(range(len(windows) - 1)):
        where = jnp.where(windows[position] == largest, position, where)
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


def cross_entropy(y: JaxArray, logits: JaxArray) -> JaxArray:
    """The cross-entropy of each sample, (batch,).

    Args:
        y: class numbers, (batch,) int32.
        logits: (batch, classes), to any constant a sample.
    """
    logits = logits - lax.stop_gradient(logits.max(-1, keepdims=True))
    classes = lax.broadcasted_iota(jnp.int32, logits.shape, 1)
    own = jnp.where(classes == y[:, None], logits, 0.0).sum(-1)
    return jnp.log(jnp.exp(logits).sum(-1)) - own


def binary_cross_entropy(y: JaxArray, logits: JaxArray) -> JaxArray:
    """The cross-entropy of each sample, (batch,).

    Args:
        y: 0 or 1, (batch,).
        logits: of 1, (batch,).
    """
    return jnp.maximum(logits, 0.0) - logits * y + jnp.log1p(jnp.exp(-jnp.abs(logits)))
