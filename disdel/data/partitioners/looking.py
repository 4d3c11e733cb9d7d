"""A look at a partition before anything runs: which client has how many samples of which label."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.data.partitioners.registry import DEFAULT_BINS
from disdel.errors import PartitionError
from disdel.types import DatasetSpec
from disdel.types.assignment import Assignment
from disdel.types.dealt import DealtSamples, LabelMap, label_map

# Counts of more cells than this take gigabytes.
_MOST_CELLS = 2**27


def look(
    assignment: Assignment,
    labels: NDArray[Any],
    spec: DatasetSpec,
    *,
    partition: str,
    seed: int,
) -> DealtSamples:
    """How many samples of which label each client has.

    Args:
        assignment: who owns what.
        labels: of all training samples, (samples,): classes, or float32 numbers to predict. Those
            are counted by tenths, between their quantiles. Of targets with axes of their own,
            (samples, …), nothing is told.
        spec: the data set.
        partition: what the samples were dealt by.
        seed: likewise.

    Raises:
        PartitionError: there are too many counts.
    """
    has_labels = labels.ndim == 1
    names: tuple[str, ...] = ()
    counts = assignment.sizes.astype(np.int64)
    if has_labels:
        column_of, names = _columns(labels, spec)
        if assignment.clients * len(names) > _MOST_CELLS:
            raise PartitionError(
                f"{assignment.clients} clients times {len(names)} labels are too many to be shown"
            )
        cells = assignment.owners()
        cells *= len(names)
        cells += column_of
        counts = np.bincount(cells, minlength=assignment.clients * len(names))
    return DealtSamples(
        dataset=spec.name,
        partition=partition,
        seed=seed,
        counts=counts.reshape(assignment.clients, -1),
        labels=names,
        is_numbers=has_labels and labels.dtype.kind == "f",
        clients=() if assignment.ids is None else tuple(assignment.ids.tolist()),
    )


def map_labels(
    assignment: Assignment,
    labels: NDArray[Any],
    spec: DatasetSpec,
    *,
    partition: str,
    most_rows: int,
    most_columns: int,
) -> LabelMap:
    """What `look(…).label_map(…)` says, without a count for each client and label.

    Args:
        assignment: who owns what.
        labels: of all training samples, (samples,).
        spec: the data set.
        partition: what the samples were dealt by.
        most_rows: of the map.
        most_columns: likewise.
    """
    column_of, names = _columns(labels, spec)
    order, sizes = assignment.order(), assignment.sizes
    begins = np.concatenate([[0], np.cumsum(sizes)])

    def mean_shares(start: int, stop: int) -> NDArray[np.float64]:
        owned = order[begins[start] : begins[stop]]
        each = 1 / (np.maximum(sizes[start:stop], 1) * (stop - start))
        weights = np.repeat(each, sizes[start:stop])
        mean: NDArray[Any] = np.bincount(column_of[owned], weights, minlength=len(names))
        return mean

    return label_map(
        partition, names, sizes, mean_shares, most_rows=most_rows, most_columns=most_columns
    )


def _columns(labels: NDArray[Any], spec: DatasetSpec) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The column in which each sample is counted, (samples,), and what the columns are called."""
    if labels.dtype.kind == "f":
        return _by_tenths(labels)
    return labels, spec.class_names or tuple(map(str, range(spec.classes)))


def _by_tenths(numbers: NDArray[Any]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The range that each number is in, and what the ranges are called."""
    cuts = np.unique(np.quantile(numbers, np.linspace(0, 1, DEFAULT_BINS + 1)[1:-1]))
    names = [f"below {cuts[0]:.4g}"]
    names += [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(cuts)]
    names.append(f"from {cuts[-1]:.4g}")
    return np.searchsorted(cuts, numbers, side="right"), tuple(names)
