"""The picture of a confusion matrix, drawn with matplotlib where that is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from disdel.host.streams import on_one_line
from disdel.types import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# With more classes the counts would not be legible; with many more, nor would all of the names.
_CLASSES_WITH_COUNTS = 26
_MOST_NAMES = 60
_NAME_LENGTH = 16


def can_draw() -> bool:
    """Whether matplotlib is installed; it is not imported for the answer."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_confusion(evaluation: Evaluation, title: str, path: Path) -> None:
    """Draw the matrix as a PNG: true classes down, predicted ones across, counts in the cells.

    A cell's shade is the share of its true class, so that rare classes are seen as well as common
    ones; the counts say the same without colour.

    Raises:
        ImportError: there is no matplotlib.
        OSError: the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.array(evaluation.confusion)
    samples = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(samples, 1)
    names = [score.name for score in evaluation.classes]
    side = min(14.0, max(4.0, 1.8 + 0.36 * len(names)))
    with mpl.rc_context({"figure.dpi": 150, "font.size": 9, "axes.titlesize": 10}):
        figure = Figure(figsize=(side + 1.0, side), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set(xlabel="predicted class", ylabel="true class")
        # Dollar signs in names begin no formula.
        axes.set_title(on_one_line(title), parse_math=False)
        _name_classes(axes, names)
        if len(names) <= _CLASSES_WITH_COUNTS:
            _write_counts(axes, counts.tolist(), shares.tolist())
        bar = figure.colorbar(image, ax=axes, shrink=0.8)
        bar.set_label("share of the true class")
        figure.savefig(path, format="png")


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    """A tick for each class, or for every few where there are many."""
    step = -(-len(names) // _MOST_NAMES)
    places = range(0, len(names), step)
    shown = [_shortened(names[place]) for place in places]
    fitting = 4 if len(names) <= _CLASSES_WITH_COUNTS else 2
    turned = 90 if max(map(len, shown)) > fitting else 0
    axes.set_xticks(places, shown, rotation=turned, parse_math=False)
    axes.set_yticks(places, shown, parse_math=False)


def _shortened(name: str) -> str:
    name = on_one_line(name)
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"


def _write_counts(
    axes: Axes, counts: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]
) -> None:
    """The count in every cell that has one, light on dark cells."""
    size = 8 if len(counts) <= 12 else 6
    for row, entries in enumerate(counts):
        for column, count in enumerate(entries):
            if count:
                colour = "white" if shares[row][column] > 0.5 else "black"
                axes.text(
                    column, row, str(count), ha="center", va="center", color=colour, fontsize=size
                )
