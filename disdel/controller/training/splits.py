"""The samples of a training by what they are for: training, decisions, and the test at its end.

Where a score may stop a run or choose its model, it is one on the validation split: the data set's
own, else one that is held out of its training split by the run's seed. The test split is then
touched once, by the finished model. Where nothing is decided, the test split scores the rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from disdel.data import DatasetArrays, held_out_size, hold_out, scaling_of
from disdel.data.partitioners import Partition
from disdel.errors import PartitionError
from disdel.types import DatasetSpec, FederateJob, Split, SplitReport, TrainJob
from disdel.types.arrays import Array
from disdel.types.assignment import ClientIds

Job = TypeVar("Job", TrainJob, FederateJob)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitSamples:
    """One split: `positions` in `x` and `y` of its samples, ascending; None for all of them."""

    x: Array
    y: Array
    positions: NDArray[np.intp] | None = None

    def rows(self, chosen: slice | Array) -> slice | Array:
        """Where some of the split's samples are in `x` and `y`: a range, or positions (n,)."""
        return chosen if self.positions is None else self.positions[chosen]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobSamples:
    """The samples of a training.

    Attributes:
        spec: the data set with as many samples as each split has in this training.
        splits: those that are used; a validation split only where something is decided.
        ids: whose each sample of the data set's training split is, by a column of its table.
    """

    spec: DatasetSpec
    splits: Mapping[Split, SplitSamples]
    ids: Mapping[str, ClientIds] = field(default_factory=dict)

    def client_ids(self, column: str) -> ClientIds:
        """Whose each sample is that is trained on.

        Raises:
            PartitionError: there is no such column.
        """
        if column not in self.ids:
            has = ", ".join(self.ids)
            raise PartitionError(
                f"{self.spec.name} has no column {column!r} that tells whose a sample is; "
                + (
                    f"it has {has}"
                    if has
                    else f"import its table with disdel dataset import NAME FILE.csv --by {column}"
                )
            )
        ids = self.ids[column]
        return replace(ids, codes=ids.codes[self.splits["train"].rows(slice(None))])


def job_dataset(spec: DatasetSpec, job: TrainJob) -> DatasetSpec:
    """The data set with as many samples as each split has in this training.

    Raises:
        DatasetError: there are too few to hold some out.
    """
    if not job.validation.decides or spec.validation_samples:
        return spec
    held = held_out_size(spec.train_samples, "validation")
    return replace(
        spec,
        train_samples=spec.train_samples - held,
        validation_samples=held,
        validation_held_out=True,
    )


def job_samples(arrays: DatasetArrays, job: TrainJob) -> JobSamples:
    """The samples of a training.

    Raises:
        DatasetError: there are too few to hold some out.
    """
    spec = job_dataset(arrays.spec, job)
    train = SplitSamples(x=arrays.train_x, y=arrays.train_y)
    splits: dict[Split, SplitSamples] = {
        "train": train,
        "test": SplitSamples(x=arrays.test_x, y=arrays.test_y),
    }
    if spec.validation_held_out:
        kept, held = hold_out(np.asarray(arrays.train_y), "validation", job.seed)
        splits["train"] = replace(train, positions=kept)
        splits["validation"] = replace(train, positions=held)
        if spec.scaling is not None:
            spec = replace(spec, scaling=scaling_of(train.x, train.y, kept))
    elif job.validation.decides:
        assert arrays.validation_x is not None
        assert arrays.validation_y is not None
        splits["validation"] = SplitSamples(x=arrays.validation_x, y=arrays.validation_y)
    return JobSamples(spec=spec, splits=splits, ids=arrays.ids)


def train_labels(samples: JobSamples) -> NDArray[Any]:
    """Of the training split, (samples, …): int32 classes, or float32 numbers to predict."""
    train = samples.splits["train"]
    return np.asarray(train.y[train.rows(slice(None))])


def job_partition(
    job: TrainJob, dataset: DatasetSpec, samples: Callable[[], JobSamples]
) -> Partition:
    """How the training samples are dealt to clients.

    Args:
        job: what the user asked for.
        dataset: that of `job_dataset`.
        samples: the samples, where a partitioner looks at their labels.

    Raises:
        UsageError: there is no such partitioner.
    """
    return Partition(
        job.partition,
        samples=dataset.train_samples,
        seed=job.seed,
        read_labels=lambda: train_labels(samples()),
        read_ids=lambda column: samples().client_ids(column),
    )


def with_clients(job: Job, partition: Partition) -> Job:
    """The job with as many clients as its samples have, where the partition is by a column.

    Raises:
        PartitionError: the user wants another number.
    """
    if (decided := partition.decided_clients) is None:
        return job
    if job.clients not in (None, decided):
        raise PartitionError(
            f"--partition {job.partition} makes {decided} clients, one for each value, and "
            f"--clients is {job.clients}: leave --clients out"
        )
    return replace(job, clients=decided)


def split_reports(
    spec: DatasetSpec, *, decides: bool, trains: bool = True
) -> tuple[SplitReport, ...]:
    """What a report tells of the splits of a training.

    Args:
        spec: that of `job_dataset`.
        decides: whether the validation split does.
        trains: whether the training split's samples are trained on.
    """
    train = SplitReport(
        split="train",
        samples=spec.train_samples,
        held_out=False,
        use="training" if trains else "shapes",
    )
    validation = SplitReport(
        split="validation",
        samples=spec.validation_samples,
        held_out=spec.validation_held_out,
        use="decisions" if decides else "none",
    )
    test = SplitReport(
        split="test",
        samples=spec.test_samples,
        held_out=spec.held_out,
        use="result" if decides else "rounds and result",
    )
    return (train, validation, test) if spec.validation_samples else (train, test)
