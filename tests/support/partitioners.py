"""Partitioners of the tests, registered on import: each is one function."""

import numpy as np

from disdel.data.partitioners import partitioner
from disdel.errors import PartitionError


@partitioner("shards:K")
def shards(asked):
    """K shards a client of the samples sorted by label (McMahan et al., 2017, section 3)."""
    pieces = np.array_split(
        np.argsort(asked.labels, kind="stable"), asked.clients * asked.whole_number
    )
    order = np.random.default_rng((asked.seed, asked.samples)).permutation(len(pieces))
    return [np.concatenate([pieces[i] for i in own]) for own in np.split(order, asked.clients)]


@partitioner("dirichlet:A")
def dirichlet(asked):
    """Of each class, shares drawn from a Dirichlet distribution (Hsu et al., 2019)."""
    if asked.labels.dtype.kind == "f":
        raise PartitionError("it needs classes, and there are numbers to predict")
    random = np.random.default_rng((asked.seed, asked.samples, asked.clients))
    owned = [[] for _ in range(asked.clients)]
    for label in np.unique(asked.labels):
        positions = random.permutation(np.flatnonzero(asked.labels == label))
        shares = random.dirichlet([asked.number] * asked.clients)
        ends = np.round(np.cumsum(shares)[:-1] * len(positions)).astype(int)
        for client, part in enumerate(np.split(positions, ends)):
            owned[client].append(part)
    return [np.concatenate(parts) for parts in owned]


@partitioner("ramp")
def ramp(asked):
    """Client 0 has one share of the samples, client 1 has two, client 2 three, and so on."""
    shares = np.arange(1, asked.clients + 1)
    ends = np.cumsum(shares)[:-1] * asked.samples // shares.sum()
    return np.split(np.arange(asked.samples), ends)
