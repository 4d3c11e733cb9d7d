"""Windows: what each position of an output sees of images. Pure functions of JAX arrays."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax

# JAX has no useful types for these.
JaxArray = Any

Pair = tuple[int, int]


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
                self._spread(self._spread(part, 0, i, tall), 1, j, wide)
                for part, (i, j) in zip(parts, offsets, strict=True)
            ),
        )
        (top, _), (left, _) = self.pads
        return total[:, top : top + shape[0], left : left + shape[1]]

    def gathered_patches(self, patches: JaxArray, shape: Pair) -> JaxArray:
        """As `gathered`, the samples of a window side by side: first row after row, then columns.

        Args:
            patches: (batch, height', width', rows * columns * channels).
            shape: height and width of the images.
        """
        for axis, (count, length) in enumerate(zip(self.size, shape, strict=True)):
            parts = jnp.split(patches, count, -1)
            before, after = self.pads[axis]
            patches = functools.reduce(
                jnp.add,
                (
                    self._spread(part, axis, offset, before + length + after)
                    for offset, part in enumerate(parts)
                ),
            )
            patches = lax.slice_in_dim(patches, before, before + length, axis=axis + 1)
        return patches

    def _spread(self, part: JaxArray, axis: int, offset: int, length: int) -> JaxArray:
        """`part` along height (0) or width (1) of that length: where the window's samples at
        `offset` are, with zeros between and around.
        """
        axis, stride, count = axis + 1, self.strides[axis], part.shape[axis + 1]
        pads = [(0, 0)] * part.ndim
        if stride != 1:
            # Beside a new axis: padding between samples compiles to scattered copies.
            part = jnp.expand_dims(part, axis + 1)
            part = jnp.pad(part, [*pads[: axis + 1], (0, stride - 1), *pads[axis + 1 :]])
            shape = part.shape
            part = part.reshape(*shape[:axis], count * stride, *shape[axis + 2 :])
            part = lax.slice_in_dim(part, 0, (count - 1) * stride + 1, axis=axis)
        before = offset * self.dilation[axis - 1]
        pads[axis] = before, length - before - part.shape[axis]
        return jnp.pad(part, pads)
