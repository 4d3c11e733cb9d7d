"""Samples to predict, read as those of the data set were."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from disdel.arrays import Array
from disdel.catalog.datasets import ReadOptions, read_inputs_of, targets_alike
from disdel.errors import DatasetError, UsageError
from disdel.types import DatasetSpec


@dataclass(frozen=True, slots=True)
class Inputs:
    """Samples to predict.

    Attributes:
        names: one a sample: the image's file, the table's line, or the position among the samples.
        x: (samples, *input_shape) in the data set's dtype.
        y: (samples,) int64 class numbers of the data set or float32 numbers; None where there are
            none.
        told: what was changed or left out.
    """

    names: tuple[str, ...]
    x: Array
    y: Array | None = None
    told: tuple[str, ...] = ()


def read_inputs(path: Path, dataset: DatasetSpec) -> Inputs:
    """The samples in `path`, in the shape and dtype that a model of `dataset` takes.

    Labels are those of the data set, by name: of classes named 1 to 3, 1 is the first.

    Raises:
        UsageError: nothing readable there, samples of another shape, or labels of other classes.
    """
    if not path.exists():
        raise UsageError(f"--input {path} does not exist")
    told: list[str] = []
    try:
        split = read_inputs_of(path, ReadOptions(like=dataset, tell=told.append))
        where = str(path)
        y = None if split.labels is None else targets_alike(split.labels, dataset, where)
    except DatasetError as error:
        raise UsageError(f"--input {error}") from error
    names = split.names or tuple(map(str, range(len(split.x))))
    return Inputs(names, split.x, y, tuple(told))
