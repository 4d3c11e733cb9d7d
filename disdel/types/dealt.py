"""What a partition comes to: the samples of each client, by label."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Shares are made of the counts of so many clients at a time: of all of them, they would take as
# much again as the counts.
_BLOCK = 10_000


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

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of each client's samples, those of each label, (clients, labels); made anew each time."""
        return self.shares_of(0, len(self.counts))

    def shares_of(self, start: int, stop: int) -> NDArray[np.float64]:
        """Of the samples of clients `start` to `stop`, those of each label, (clients, labels)."""
        samples = np.maximum(self.samples[start:stop], 1)[:, np.newaxis]
        shares: NDArray[np.float64] = self.counts[start:stop] / samples
        return shares

    def _blocks(self) -> Iterator[NDArray[np.float64]]:
        for start in range(0, len(self.counts), _BLOCK):
            yield self.shares_of(start, start + _BLOCK)

    @cached_property
    def largest_share(self) -> float:
        """The largest of any client and label."""
        return max(float(shares.max()) for shares in self._blocks())

    @cached_property
    def effective_labels(self) -> NDArray[np.float64]:
        """exp(entropy) of each client's shares, (clients,): so many labels, were they alike."""
        return np.concatenate([_effective(shares) for shares in self._blocks()])

    def label_map(self, most_rows: int, most_columns: int) -> LabelMap:
        """The shares in at most so many rows and columns: neighbours are put together."""
        return label_map(
            self.partition,
            self.labels,
            self.samples,
            lambda start, stop: self.shares_of(start, stop).mean(axis=0),
            most_rows=most_rows,
            most_columns=most_columns,
        )

    def to_json(self, *, streamed: bool = False) -> dict[str, Any]:
        """All of it as plain values; nothing of labels where there are none.

        Args:
            streamed: whether the clients, of whom there may be a million, are an iterator.
        """
        has_labels = bool(self.labels)
        clients = self._clients_to_json()
        return {
            "version": 1,
            "dataset": self.dataset,
            "partition": self.partition,
            "seed": self.seed,
            "labels": list(self.labels),
            "clients": clients if streamed else list(clients),
            "totals": {
                "clients": len(self.counts),
                "samples": int(self.samples.sum()),
                "samples_least": int(self.samples.min()),
                "samples_median": float(np.median(self.samples)),
                "samples_largest": int(self.samples.max()),
                **(self._labels_of_all() if has_labels else {}),
            },
        }

    def _clients_to_json(self) -> Iterator[dict[str, Any]]:
        for client in range(len(self.counts)):
            yield {
                "client": client,
                **({"name": self.clients[client]} if self.clients else {}),
                "samples": int(self.samples[client]),
                **(self._labels_of(client) if self.labels else {}),
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


def label_map(
    partition: str,
    labels: tuple[str, ...],
    samples: NDArray[np.int64],
    mean_shares: Callable[[int, int], NDArray[np.float64]],
    *,
    most_rows: int,
    most_columns: int,
) -> LabelMap:
    """A map of at most so many rows and columns: neighbours are put together.

    Args:
        partition: what the samples are dealt by.
        labels: what they are called; none where a sample has no single label.
        samples: of each client, (clients,).
        mean_shares: the mean of the shares of clients `start` to `stop`, (labels,) or (1,).
        most_rows: of the map.
        most_columns: likewise.
    """
    starts = starts_of(len(samples), most_rows)
    stops = [*starts[1:], len(samples)]
    shares = [mean_shares(start, stop) for start, stop in zip(starts, stops, strict=True)]
    columns = starts_of(len(shares[0]), most_columns)
    return LabelMap(
        partition=partition,
        labels=tuple(labels[column] for column in columns if labels),
        rows=tuple(
            LabelRow(
                first=start,
                last=stop - 1,
                samples_least=int(samples[start:stop].min()),
                samples_most=int(samples[start:stop].max()),
                shares=tuple(np.add.reduceat(mean, columns).tolist()),
            )
            for start, stop, mean in zip(starts, stops, shares, strict=True)
        ),
    )


def _effective(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
    effective: NDArray[np.float64] = np.exp(-(shares * logs).sum(axis=1))
    return effective


def starts_of(count: int, most: int) -> list[int]:
    """Where at most `most` groups of neighbours begin, of so many."""
    return [place * count // min(count, most) for place in range(min(count, most))]
