"""Kernels: what layers compute, written as IREE compiles it well; pure functions of JAX arrays.

A pool is a maximum or a sum over shifted slices, and one of the largest remembers which sample of a
window that was. Convolutions are in `disdel.compiler.convolutions`. docs/compiled.md has what each
is worth.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from disdel.compiler.windows import Pair, Window

# JAX has no useful types for these.
JaxArray = Any

_ROWS = _COLUMNS = 2


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
    # A constant, and not computed: that would be two kernels more to compile.
    positions = np.arange(_ROWS * _COLUMNS, dtype=np.int32).reshape(_ROWS, 1, _COLUMNS, 1)
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
