"""Which samples of a split each client owns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from disdel.errors import PartitionError

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ClientIds:
    """Whose each sample is: `values[codes[i]]` of sample i.

    Attributes:
        values: the ids in their order, (ids,) text.
        codes: (samples,) int32.
    """

    values: npt.NDArray[np.str_]
    codes: npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Assignment:
    """Samples as they are dealt to clients, numbered from 0.

    Client 0 owns the first `sizes[0]` positions of an order of the whole split, client 1 those
    after them, and so on. The order is made when it is needed: of a shuffle, this is all that is
    kept, however many samples there are. Until counts or names are asked for, nothing here is an
    object a client: there may be 100,000.

    Attributes:
        sizes: the samples of each client, (clients,) int64.
        order: makes the order, (samples,) int64.
        ids: what each client is called where its samples come from, (clients,); None for numbers.
        in_ranges: whether the order is the same for any number of clients, so that the range of it
            says what a client owns.
    """

    sizes: npt.NDArray[np.int64]
    order: Callable[[], Positions]
    ids: npt.NDArray[np.str_] | None = None
    in_ranges: bool = False

    @classmethod
    def of_ranges(cls, sizes: npt.ArrayLike, order: Callable[[], Positions]) -> Assignment:
        """Ranges of one order, which is the same for any number of clients."""
        return cls(sizes=np.asarray(sizes, np.int64), order=order, in_ranges=True)

    @classmethod
    def of_owners(
        cls,
        owners: npt.NDArray[Any],
        clients: int,
        ids: npt.NDArray[np.str_] | None = None,
    ) -> Assignment:
        """Samples by the client that owns each: `owners` is (samples,), whole numbers.

        Raises:
            PartitionError: they are no such numbers, or one is no client.
        """
        if owners.ndim != 1 or owners.dtype.kind not in "iu":
            raise PartitionError(
                f"owners are {owners.dtype} of shape {owners.shape}, and each sample has one: "
                "whole numbers, (samples,)"
            )
        if len(owners) and not 0 <= owners.min() <= owners.max() < clients:
            odd = np.flatnonzero((owners < 0) | (owners >= clients))[0]
            raise PartitionError(
                f"sample {odd} is given to client {owners[odd]}, and there are 0 to {clients - 1}"
            )
        order = np.argsort(owners, kind="stable")
        return cls(sizes=np.bincount(owners, minlength=clients), order=lambda: order, ids=ids)

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
        owned_by_all = [np.asarray(owned, np.int64) for owned in clients]
        order = np.concatenate([*owned_by_all, np.empty(0, np.int64)])
        sizes = np.array([len(owned) for owned in owned_by_all], np.int64)
        return cls(sizes=sizes, order=lambda: order)

    @property
    def clients(self) -> int:
        return len(self.sizes)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """The samples of each client."""
        return tuple(self.sizes.tolist())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each client owns, in a word: in a run, two shards of one name are the same."""
        starts = self._ends - self.sizes
        if self.in_ranges:
            return tuple(f"{start}-{end}" for start, end in zip(starts, self._ends, strict=True))
        order = self.order()
        return tuple(_name(order[start:end]) for start, end in zip(starts, self._ends, strict=True))

    @cached_property
    def digest(self) -> str:
        """Of who owns which samples, as hexadecimal digits."""
        found = hashlib.blake2b(np.asarray(self.sizes, "<i8").tobytes(), digest_size=16)
        if not self.in_ranges:  # else the seed says the order
            found.update(np.asarray(self.order(), "<i8").tobytes())
        return found.hexdigest()

    def shards(self) -> Iterator[tuple[str, Positions]]:
        """Each client's name and ascending positions, checked to be each sample of the split once.

        Ascending, so that a memory-mapped file is read forwards; a client shuffles every epoch.

        Raises:
            PartitionError: a sample has no owner, or more than one.
        """
        order = self.order()
        check_cover(order, int(self.sizes.sum()))
        for name, size, end in zip(self.names, self.sizes, self._ends, strict=True):
            yield name, np.sort(order[end - size : end])

    def owners(self) -> npt.NDArray[np.int64]:
        """The client that owns each sample, (samples,)."""
        owners = np.empty(int(self.sizes.sum()), np.int64)
        owners[self.order()] = np.repeat(np.arange(self.clients), self.sizes)
        return owners

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.sizes)


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
