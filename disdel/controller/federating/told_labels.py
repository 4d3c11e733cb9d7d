"""Labels of clients that have their own data: what those say of them whose code allows it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from disdel.types import DatasetSpec, FederateJob, ModelSpec
from disdel.types.dealt import LabelMap, label_map

# Of more classes, the answer of an activation of many clients would be megabytes.
_MOST_CLASSES = 100
# Of clients by classes.
_MOST_COUNTS = 10_000_000


class ToldLabels:
    """How many samples of each class clients have, as they say when they are asked.

    Nobody is asked whose updates are protected: what protects these says nothing of labels.

    Args:
        job: the federation.
        model: the network, which says what the classes are.
    """

    def __init__(self, job: FederateJob, model: ModelSpec) -> None:
        classes = 0 if model.target.shape else model.target.classes
        is_open = not (job.privacy.secure_aggregation or job.privacy.is_differential)
        self._asks = job.data is not None and is_open and 0 < classes <= _MOST_CLASSES
        self._asks &= job.roster * classes <= _MOST_COUNTS
        self._job = job
        self._counts: dict[int, NDArray[np.int64]] = {}

    def lacks(self, client: int) -> bool:
        """Whether a client is to be asked."""
        return self._asks and client not in self._counts

    def tell(self, client: int, labels: tuple[int, ...]) -> None:
        """Remember what a client has said, (classes,), if it has said anything."""
        if labels and self._asks:
            self._counts[client] = np.array(labels, np.int64)

    def map(self, spec: DatasetSpec, most_rows: int, most_columns: int) -> LabelMap | None:
        """All that was said: of those who have said nothing, no samples; None where nobody has."""
        if not self._counts:
            return None
        clients = np.array(sorted(self._counts))
        counts = np.stack([self._counts[client] for client in clients.tolist()])
        told = counts.sum(axis=1)
        samples = np.zeros(self._job.roster, np.int64)
        samples[clients] = told
        shares = counts / np.maximum(told, 1)[:, np.newaxis]

        def mean_shares(start: int, stop: int) -> NDArray[np.float64]:
            first, last = np.searchsorted(clients, [start, stop])
            mean: NDArray[np.float64] = shares[first:last].sum(axis=0) / (stop - start)
            return mean

        return label_map(
            f"as {len(clients)} of {self._job.roster} clients have said",
            spec.class_names or tuple(map(str, range(spec.classes))),
            samples,
            mean_shares,
            most_rows=most_rows,
            most_columns=most_columns,
        )
