"""Geometry of heat maps: cells of one shade are one path, so that a page of 20,000 stays small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from disdel.report.axes import AXIS_HEIGHT, MARGIN, Tick

_SHADES = 6
_LEFT = 70.0
_TOP = 8.0
_MOST_TICKS = 20
_CELL_HEIGHTS = (5.0, 16.0)
_CELL_WIDTHS = (2.0, 24.0)
_WHOLE_WIDTH = 1020.0
_WHOLE_HEIGHT = 420.0


@dataclass(frozen=True, slots=True)
class Layer:
    """All cells of one shade; `opacity` is above 0 and at most 1."""

    opacity: float
    path: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Rows from above and columns from the left, with some of their names."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    layers: tuple[Layer, ...]
    marks: str
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]


def heat_map(
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    marked: NDArray[np.bool_] | None = None,
) -> HeatMap:
    """A map of `values`, (rows, columns), of which the largest has the full shade.

    Args:
        values: none is below 0.
        rows: their names.
        columns: likewise.
        marked: cells that are drawn in another colour, of the same shape.
    """
    high, wide = values.shape
    tall = float(np.clip(_WHOLE_HEIGHT / high, *_CELL_HEIGHTS))
    broad = float(np.clip(_WHOLE_WIDTH / wide, *_CELL_WIDTHS))
    levels = np.ceil(values / (values.max() or 1.0) * _SHADES).astype(int)
    layers = (
        Layer(level / _SHADES, _path(levels == level, broad, tall))
        for level in range(1, _SHADES + 1)
    )
    right, bottom = _LEFT + wide * broad, _TOP + high * tall
    return HeatMap(
        width=right + MARGIN,
        height=bottom + AXIS_HEIGHT,
        left=_LEFT,
        right=right,
        top=_TOP,
        bottom=bottom,
        layers=tuple(layer for layer in layers if layer.path),
        marks="" if marked is None else _path(marked, broad, tall),
        rows=_ticks(rows, _TOP, tall, 12.0),
        columns=_ticks(columns, _LEFT, broad, 9.0 + 6.5 * max(map(len, columns))),
    )


def _path(cells: NDArray[np.bool_], broad: float, tall: float) -> str:
    return "".join(_runs(cells, broad, tall))


def _runs(cells: NDArray[np.bool_], broad: float, tall: float) -> Iterator[str]:
    """Neighbours in a row are one rectangle."""
    edges = np.diff(np.pad(cells.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    for row in np.flatnonzero(cells.any(axis=1)):
        starts, stops = np.flatnonzero(edges[row] == 1), np.flatnonzero(edges[row] == -1)
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            x, y = _LEFT + start * broad, _TOP + int(row) * tall
            width = (stop - start) * broad
            yield f"M{x:.5g} {y:.5g}h{width:.5g}v{tall:.5g}h-{width:.5g}z"


def _ticks(names: Sequence[str], start: float, size: float, room: float) -> tuple[Tick, ...]:
    """The middles of some cells, so many as have room for their names."""
    step = max(-(-len(names) // _MOST_TICKS), -int(-room // size))
    return tuple(
        Tick(round(start + (place + 0.5) * size, 2), names[place])
        for place in range(0, len(names), step)
    )
