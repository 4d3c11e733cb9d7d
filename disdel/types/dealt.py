"""What a partition comes to: the samples of each client, by label."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """Clients `first` to `last`: how many samples they have, and the mean of their shares."""

    first: int
    last: int
    samples_least: int
    samples_most: int
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMap:
    """A partition in so few rows and columns that it can be drawn and kept.

    Attributes:
        partition: what the samples are dealt by.
        labels: what each column begins with.
        rows: of one client each, or of neighbours together.
    """

    partition: str
    labels: tuple[str, ...]
    rows: tuple[LabelRow, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class DealtSamples:
    """A training split as it is dealt to clients.

    Attributes:
        dataset: its name.
        partition: what it is dealt by.
        seed: of what is drawn.
        counts: the samples of each client by label, (clients, labels) int64; all in one column
            where a sample has no single label.
        labels: what each column of `counts` is: a class, or a range of numbers to predict; empty
            where a sample has no single label.
        is_numbers: whether labels are ranges of numbers.
        clients: what each row is, where clients have names; empty where they are numbered.
    """

    dataset: str
    partition: str
    seed: int
    counts: NDArray[np.int64]
    labels: tuple[str, ...]
    is_numbers: bool = False
    clients: tuple[str, ...] = ()

    @cached_property
    def samples(self) -> NDArray[np.int64]:
        """Of each client, (clients,)."""
        total: NDArray[np.int64] = self.counts.sum(axis=1)
        return total

    @cached_property
    def labels_held(self) -> NDArray[np.int64]:
        """How many labels each client has, (clients,)."""
        held: NDArray[np.int64] = np.count_nonzero(self.counts, axis=1)
        return held

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """Of a client's samples, those of each label, (clients, labels)."""
        shares: NDArray[np.float64] = self.counts / np.maximum(self.samples, 1)[:, np.newaxis]
        return shares

    @cached_property
    def effective_labels(self) -> NDArray[np.float64]:
        """exp(entropy) of each client's shares, (clients,): so many labels, were they alike."""
        logs = np.log(self.shares, where=self.shares > 0, out=np.zeros_like(self.shares))
        effective: NDArray[np.float64] = np.exp(-(self.shares * logs).sum(axis=1))
        return effective

    def label_map(self, most_rows: int, most_columns: int) -> LabelMap:
        """The shares in at most so many rows and columns: neighbours are put together."""
        clients, labels = self.counts.shape
        columns = starts_of(labels, most_columns)
        starts = starts_of(clients, most_rows)
        return LabelMap(
            partition=self.partition,
            labels=tuple(self.labels[column] for column in columns if self.labels),
            rows=tuple(
                LabelRow(
                    first=start,
                    last=stop - 1,
                    samples_least=int(self.samples[start:stop].min()),
                    samples_most=int(self.samples[start:stop].max()),
                    shares=tuple(
                        np.add.reduceat(self.shares[start:stop].mean(axis=0), columns).tolist()
                    ),
                )
                for start, stop in zip(starts, [*starts[1:], clients], strict=True)
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values; nothing of labels where there are none."""
        has_labels = bool(self.labels)
        return {
            "version": 1,
            "dataset": self.dataset,
            "partition": self.partition,
            "seed": self.seed,
            "labels": list(self.labels),
            "clients": [
                {
                    "client": client,
                    **({"name": self.clients[client]} if self.clients else {}),
                    "samples": int(self.samples[client]),
                    **(self._labels_of(client) if has_labels else {}),
                }
                for client in range(len(self.counts))
            ],
            "totals": {
                "clients": len(self.counts),
                "samples": int(self.samples.sum()),
                "samples_least": int(self.samples.min()),
                "samples_median": float(np.median(self.samples)),
                "samples_largest": int(self.samples.max()),
                **(self._labels_of_all() if has_labels else {}),
            },
        }

    def _labels_of(self, client: int) -> dict[str, Any]:
        return {
            "labels": int(self.labels_held[client]),
            "effective_labels": round(float(self.effective_labels[client]), 4),
            "counts": self.counts[client].tolist(),
        }

    def _labels_of_all(self) -> dict[str, Any]:
        return {
            "labels_mean": round(float(self.labels_held.mean()), 4),
            "effective_labels_mean": round(float(self.effective_labels.mean()), 4),
            "effective_labels_all": round(self.effective_of_all, 4),
        }

    @property
    def effective_of_all(self) -> float:
        """The same of all samples together."""
        of_all = self.counts.sum(axis=0) / self.counts.sum()
        of_all = of_all[of_all > 0]
        return float(np.exp(-(of_all * np.log(of_all)).sum()))


def starts_of(count: int, most: int) -> list[int]:
    """Where at most `most` groups of neighbours begin, of so many."""
    return [place * count // min(count, most) for place in range(min(count, most))]
