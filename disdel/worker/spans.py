"""The data section of a blob, cut into pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from disdel.store.codec import TensorInfo

SPAN_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `stop` of the data section, all of one dtype."""

    dtype: np.dtype[np.generic]
    start: int
    stop: int


def spans(tensors: Sequence[TensorInfo], most_bytes: int) -> Iterator[Span]:
    """The data of tensors that lie side by side: neighbours of one dtype together, none larger.

    Many small tensors become one read, and one large tensor several.
    """
    index = 0
    while index < len(tensors):
        dtype, start, stop = tensors[index].dtype, tensors[index].start, tensors[index].stop
        index += 1
        while index < len(tensors) and tensors[index].dtype == dtype:
            stop = tensors[index].stop
            index += 1
        stride = max(1, most_bytes // dtype.itemsize) * dtype.itemsize
        for first in range(start, stop, stride):
            yield Span(dtype, first, min(stop, first + stride))
