"""The partitioners that disdel has. `docs/partitions.md` has a table of them."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt

from disdel.data.partitioners.registry import Asked, Dealt, partitioner
from disdel.errors import PartitionError
from disdel.types.assignment import Assignment, Positions, equal_counts
from disdel.types.named import Rest
from disdel.types.setting import Setting

_MOST = 2**31
# How often a draw that leaves a client with too little is repeated; after one that leaves so many,
# no further one would leave none.
_DRAWS, _HOPELESS = 50, 100

Count = Annotated[int | None, Setting("A number of something.", low=1, high=_MOST)]
Bins = Annotated[int | None, Setting("Classes that numbers are put into.", low=2, high=_MOST)]


@partitioner("iid")
def iid(asked: Asked) -> Assignment:
    """Ranges of one shuffle, whose sizes differ by at most one."""
    return Assignment.of_ranges(
        equal_counts(asked.samples, asked.clients), lambda: shuffled(asked.samples, asked.seed)
    )


@partitioner("shards")
def shards(asked: Asked, k: Count = None, *, size: Count = None) -> Dealt:
    """K shards a client of the samples sorted by label (McMahan et al., 2017, section 3).

    Or shards of `size` samples, of which some clients get one more than others.
    """
    if (k is None) is (size is None):
        raise PartitionError("shards:K deals K shards to each client, shards:size=N shards of N")
    in_order = np.argsort(asked.labels, kind="stable")
    if size is not None:
        wanted = -(-asked.samples // size)
        sizes = (size,) * (wanted - 1) + (asked.samples - size * (wanted - 1),)
    else:
        wanted = asked.clients * (k or 0)
        sizes = equal_counts(asked.samples, wanted)
    if not asked.clients <= wanted <= asked.samples:
        raise PartitionError(f"there would be {wanted} shards of {asked.samples} samples")
    # Of each shard, the client.
    dealt = np.repeat(np.arange(asked.clients), equal_counts(wanted, asked.clients))
    owners = np.empty(asked.samples, np.int64)
    owners[in_order] = np.repeat(asked.random().permutation(dealt), sizes)
    return Assignment.of_owners(owners, asked.clients)


@partitioner("classes")
def classes(
    asked: Asked,
    k: Annotated[int, Setting("Classes of a client.", low=1, high=_MOST)],
    *,
    bins: Bins = None,
) -> Dealt:
    """K classes a client (Li et al., 2022, https://arxiv.org/abs/2102.02079, section 4.1).

    Each class is cut into equal parts for the clients that have it. Which these are is drawn, and
    classes have equally many clients, to within one.
    """
    label_of = asked.classes(bins)
    counts = np.bincount(label_of)
    if k > len(counts):
        raise PartitionError(f"the samples have {asked.told_classes(bins, len(counts))}")
    if asked.clients * k < len(counts):
        left = len(counts) - asked.clients * k
        raise PartitionError(
            f"{left} {'classes' if left > 1 else 'class'} would be nobody's: have more clients, or "
            f"classes:{-(-len(counts) // asked.clients)}"
        )
    random = asked.random()
    holders: list[list[int]] = [[] for _ in counts]
    taken = np.zeros(len(counts))
    for client in range(asked.clients):
        # The least taken, by lot.
        chosen = np.argsort(taken + random.random(len(counts)))[:k]
        taken[chosen] += 1
        for label in chosen:
            holders[label].append(client)
    owners = np.empty(asked.samples, np.int64)
    for label, those in enumerate(holders):
        if len(those) > counts[label]:
            raise PartitionError(
                f"{len(those)} clients would share the {counts[label]} samples of class {label}"
            )
        positions = random.permutation(np.flatnonzero(label_of == label))
        owners[positions] = np.repeat(those, equal_counts(len(positions), len(those)))
    return Assignment.of_owners(owners, asked.clients)


@partitioner("dirichlet")
def dirichlet(
    asked: Asked,
    alpha: Annotated[float, Setting("Small is skewed.", low=1e-4, high=1e6)],
    *,
    least: Annotated[int, Setting("Least samples of a client.", low=1, high=_MOST)] = 1,
    bins: Bins = None,
) -> Dealt:
    """Shares of each class are drawn from Dir(alpha) (Yurochkin et al., 2019, section 4).

    https://arxiv.org/abs/1905.12022. While a client has fewer samples than `least`, all is drawn
    again, a bounded number of times.
    """
    if least * asked.clients > asked.samples:
        raise PartitionError(f"least={least} needs {least * asked.clients} samples")
    had = f"fewer than {least} samples" if least > 1 else "none"
    positions = _by_class(asked.classes(bins))
    random = asked.random()
    owners = np.empty(asked.samples, np.int64)
    for drawn in range(1, _DRAWS + 1):
        for of_class in positions:
            shares = random.dirichlet(np.full(asked.clients, alpha))
            owners[random.permutation(of_class)] = np.repeat(
                np.arange(asked.clients), cut_by(shares, len(of_class))
            )
        short = int((np.bincount(owners, minlength=asked.clients) < least).sum())
        if not short:
            return Assignment.of_owners(owners, asked.clients)
        told = f"in each of {drawn} draws clients had {had}, {short} of them in the last"
        if short > _HOPELESS:
            told = f"{short} clients had {had} in draw {drawn}, and further ones would be alike"
            break
    smaller = ", or a smaller least" if least > 1 else ""
    take = "take fewer clients, an" if least > 1 else "take fewer clients, or an"
    raise PartitionError(f"{told}; {take} alpha above {alpha:g}{smaller}")


@partitioner("sizes")
def sizes(
    asked: Asked,
    law: Literal["linear", "square", "exponential", "powerlaw"],
    exponent: Annotated[float | None, Setting("Of a power law.", above=0, high=100)] = None,
    *,
    least: Annotated[int, Setting("Least samples of a client.", low=0, high=_MOST)] = 0,
) -> Assignment:
    """Clients of unequal sizes, the first the smallest; which samples they have is by chance.

    Client c of N, from 1, has a share in proportion to c, to its square, to exp(c), or, by a power
    law (Zipf's), to 1 / (N + 1 - c) ** exponent. Shares are rounded down, and the largest client
    has the rest.
    """
    if (law == "powerlaw") is not (exponent is not None):
        raise PartitionError("powerlaw takes an exponent, sizes:powerlaw:1.5, and no other does")
    if least * asked.clients > asked.samples:
        raise PartitionError(f"least={least} needs {least * asked.clients} samples")
    numbers = np.arange(1, asked.clients + 1, dtype=np.float64)
    shares = {
        "linear": numbers,
        "square": numbers**2,
        # All divided by the largest, which would be beyond float64.
        "exponential": np.exp(numbers - asked.clients),
        "powerlaw": numbers[::-1] ** -(exponent or 0.0),
    }[law]
    counts = _with_least(shares, asked.samples, least)
    if empty := int((counts == 0).sum()):
        raise PartitionError(
            f"by {law} sizes {empty} client{'s' * (empty > 1)} would have none; take fewer "
            "clients, or add least=1, so that the smallest have one sample each"
        )
    return Assignment.of_ranges(counts, lambda: shuffled(asked.samples, asked.seed))


@partitioner("by", decides_clients=True)
def by(asked: Asked, column: Rest) -> Assignment:
    """One client for each value of a column of the table that was imported, in their order."""
    ids = asked.read_ids(column)
    # Those of samples that are held out may be nobody's here.
    there, owners = np.unique(ids.codes, return_inverse=True)
    return Assignment.of_owners(owners.reshape(-1), len(there), ids.values[there])


def shuffled(samples: int, seed: int) -> Positions:
    """A permutation of `samples` positions that `seed` decides, (samples,) int64.

    Data sets often come sorted by class; without this a client could see a single class.
    """
    return np.random.default_rng((seed, samples)).permutation(samples)


def cut_by(shares: npt.NDArray[np.float64], samples: int) -> npt.NDArray[np.int64]:
    """How many of `samples` each client has, (clients,), of shares whose sum is 1.

    They are cut where the shares so far end, rounded down, so that no error adds up.
    """
    ends = np.floor(np.cumsum(shares) * samples).astype(np.int64)
    ends[-1] = samples
    return np.diff(np.minimum(ends, samples), prepend=0)


def _by_class(classes: npt.NDArray[np.int64]) -> list[Positions]:
    """The positions of each class, ascending."""
    order = np.argsort(classes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(classes))[:-1])


def _with_least(shares: npt.NDArray[np.float64], samples: int, least: int) -> npt.NDArray[np.int64]:
    """Sizes in proportion to ascending shares, but none below `least`."""
    raised = np.zeros(len(shares), np.bool_)
    while True:
        left = samples - least * int(raised.sum())
        made = np.where(raised, least, np.floor(shares * (left / shares[~raised].sum())))
        low = (made < least) & ~raised
        # What is left is the largest client's, which has at least as much.
        low[-1] = False
        if not low.any():
            break
        raised |= low
    sizes = made.astype(np.int64)
    sizes[-1] += samples - sizes.sum()
    return sizes
