"""Which samples of a split each client owns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from disdel.errors import PartitionError

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assignment:
    """Samples as they are dealt to clients, numbered from 0.

    Client 0 owns the first `counts[0]` positions of an order of the whole split, client 1 those
    after them, and so on. The order is made when it is needed: of a shuffle, this is all that is
    kept, however many samples there are.

    Attributes:
        counts: the samples of each client.
        names: what each client owns, in a word: in a run, two shards of one name are the same.
        order: makes the order, (samples,) int64.
    """

    counts: tuple[int, ...]
    names: tuple[str, ...]
    order: Callable[[], Positions]

    @classmethod
    def of_ranges(cls, counts: Sequence[int], order: Callable[[], Positions]) -> Assignment:
        """Ranges of one order, which is the same for any number of clients."""
        ends = np.cumsum(counts).tolist()
        return cls(
            counts=tuple(counts),
            names=tuple(f"{end - n}-{end}" for end, n in zip(ends, counts, strict=True)),
            order=order,
        )

    @classmethod
    def of_positions(cls, clients: Sequence[Positions]) -> Assignment:
        """Any positions of the split, (samples of the client,) whole numbers of each client.

        Raises:
            PartitionError: they are no such arrays.
        """
        for owned in clients:
            if owned.ndim != 1 or (owned.dtype.kind not in "iu" and owned.size):
                raise PartitionError(
                    f"a client is given {owned.dtype} of shape {owned.shape} for positions, which "
                    "are whole numbers, (samples,)"
                )
        order = np.concatenate([np.asarray(owned, np.int64) for owned in clients])
        return cls(
            counts=tuple(len(owned) for owned in clients),
            names=tuple(_name(owned) for owned in clients),
            order=lambda: order,
        )

    def shards(self) -> Iterator[tuple[str, Positions]]:
        """Each client's name and ascending positions, checked to be each sample of the split once.

        Ascending, so that a memory-mapped file is read forwards; a client shuffles every epoch.

        Raises:
            PartitionError: a sample has no owner, or more than one.
        """
        order = self.order()
        check_cover(order, sum(self.counts))
        start = 0
        for name, count in zip(self.names, self.counts, strict=True):
            yield name, np.sort(order[start : start + count])
            start += count


def check_cover(order: Positions, samples: int) -> None:
    """Make sure that `order` has each position of 0 to `samples` exactly once.

    Raises:
        PartitionError: it does not.
    """
    if len(order) and not 0 <= order.min() <= order.max() < samples:
        odd = order[(order < 0) | (order >= samples)][0]
        raise PartitionError(f"a client is given sample {odd}, and there are 0 to {samples - 1}")
    owned = np.zeros(samples, np.bool_)
    owned[order] = True
    if not owned.all() or len(order) != samples:
        owners = np.bincount(order, minlength=samples)
        odd = np.flatnonzero(owners != 1)[0]
        raise PartitionError(f"sample {odd} has {owners[odd]} owners, and every sample has one")


def equal_counts(samples: int, clients: int) -> tuple[int, ...]:
    """The samples of each client, which differ by at most one; the larger numbers come first."""
    size, larger = divmod(samples, clients)
    return (size + 1,) * larger + (size,) * (clients - larger)


def _name(owned: Positions) -> str:
    digest = hashlib.blake2b(np.sort(np.asarray(owned, "<i8")).tobytes(), digest_size=16)
    return f"{len(owned)}-{digest.hexdigest()}"
