"""Samples to predict, read as those of the data set were."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from disdel.data import ReadOptions, read_inputs_of, targets_alike
from disdel.errors import DatasetError, UsageError
from disdel.settings.read_options import TableOptions
from disdel.types import DatasetSpec, Scaling
from disdel.types.arrays import Array

# Samples of so many times the size of those of the training, or so small a part of it, are hardly
# in the same units; of fewer numbers than these one cannot tell.
_FAR = 30.0
_FEWEST_NUMBERS = 16
_AS_BEFORE = TableOptions()


@dataclass(frozen=True, slots=True)
class Inputs:
    """Samples to predict.

    Attributes:
        names: one a sample: the image's file, the table's line, or the position among the samples.
        x: (samples, *input_shape) in the data set's dtype.
        y: (samples, *target_shape), int64 class numbers of the data set or float32 numbers; None
            where there are none.
        told: what was changed or left out.
    """

    names: tuple[str, ...]
    x: Array
    y: Array | None = None
    told: tuple[str, ...] = ()


def read_inputs(path: Path, dataset: DatasetSpec, table: TableOptions = _AS_BEFORE) -> Inputs:
    """The samples in `path`, in the shape and dtype that a model of `dataset` takes.

    Labels are those of the data set, by name: of classes named 1 to 3, 1 is the first.

    Args:
        path: a file or a folder.
        dataset: what the model was trained on.
        table: how a table is read, where not as the data set's.

    Raises:
        UsageError: nothing readable there, samples of another shape, or labels of other classes.
    """
    if not path.exists():
        raise UsageError(f"--input {path} does not exist: name a file or a folder of samples")
    told: list[str] = []
    try:
        split = read_inputs_of(path, ReadOptions.of_input(table, dataset, told.append))
        where = str(path)
        y = None if split.labels is None else targets_alike(split.labels, dataset, where)
    except DatasetError as error:
        # What is wrong may be another option's value.
        option = "" if str(error).startswith("--") else "--input "
        raise UsageError(f"{option}{error}") from error
    # Tokens are in no units.
    scaling = None if dataset.kind == "tokens" else dataset.scaling
    if scaling is not None and (remark := _other_units(split.x, scaling)):
        told.append(f"{path}: {remark}")
    names = split.names or tuple(map(str, range(len(split.x))))
    return Inputs(names, split.x, y, tuple(told))


def _other_units(x: Array, scaling: Scaling) -> str | None:
    """A remark where samples look as if they were scaled otherwise than those of the training."""
    if not scaling.mean or x.size < _FEWEST_NUMBERS:
        return None
    known = _size(np.hypot(scaling.mean, scaling.deviation))
    found = _size(x)
    if known / _FAR <= found <= known * _FAR:
        return None
    return (
        f"numbers from {x.min():g} to {x.max():g}, {found:.3g} in root mean square, where the "
        f"training samples have {known:.3g}: are they scaled as those were?"
    )


def _size(values: Array) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))
