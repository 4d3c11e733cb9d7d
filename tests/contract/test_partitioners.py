"""What every partitioner must do, and what becomes of one that does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disdel.data.partitioners import Partition, partitioner, partitioner_names
from disdel.data.partitioners.registry import _REGISTERED
from disdel.errors import PartitionError, UsageError
from disdel.types.assignment import Assignment, equal_counts
from tests.support import partitioners  # noqa: F401  # registers them

ALL = {"iid": "iid", "shards:K": "shards:2", "dirichlet:A": "dirichlet:0.5", "ramp": "ramp"}

classes = st.lists(st.integers(0, 9), min_size=1, max_size=300).map(
    lambda drawn: np.array(drawn, np.int32)
)
numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300).map(
    lambda drawn: np.array(drawn, np.float32)
)


def partition(asked, labels, seed=0):
    return Partition(asked, samples=len(labels), seed=seed, read_labels=lambda: labels)


def dealt_or_refused(asked, labels, seed, clients):
    try:
        return partition(asked, labels, seed).assignment(clients)
    except PartitionError as error:
        return str(error)


def shards_of(made):
    return [(name, positions.tolist()) for name, positions in made.shards()]


def test_every_partitioner_is_examined():
    assert set(partitioner_names()) == ALL.keys()


@pytest.mark.parametrize("asked", ALL.values())
@given(labels=classes | numbers, clients=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_each_sample_has_one_owner_and_each_client_a_sample(asked, labels, clients, seed):
    made = dealt_or_refused(asked, labels, seed, clients)
    if isinstance(made, str):
        told = f"--partition {asked} cannot deal {len(labels)} samples to {clients} clients: "
        assert made.startswith(told)
        return
    owned = shards_of(made)
    assert len(owned) == len(made.counts) == len(made.names) == clients
    assert [len(positions) for _, positions in owned] == list(made.counts)
    assert min(made.counts) > 0
    assert sorted(p for _, positions in owned for p in positions) == list(range(len(labels)))
    assert all(positions == sorted(positions) for _, positions in owned)


@pytest.mark.parametrize("asked", ALL.values())
@given(seed=st.integers(0, 2**32 - 1), clients=st.integers(1, 5))
@settings(max_examples=20)
def test_the_seed_alone_decides(asked, seed, clients):
    labels = np.tile(np.arange(10, dtype=np.int32), 100)
    np.random.seed(seed % 1000)  # somebody else's
    first = shards_of(partition(asked, labels, seed).assignment(clients))
    dealer = partition(asked, labels, seed)
    for other in (1, 7, clients):
        dealer.counts(other)
    assert shards_of(dealer.assignment(clients)) == first
    assert dealer.counts(clients) == tuple(len(positions) for _, positions in first)


@pytest.mark.parametrize("asked", ["iid", "shards:2", "dirichlet:0.5"])
def test_another_seed_deals_otherwise(asked):
    labels = np.tile(np.arange(10, dtype=np.int32), 100)
    made = [shards_of(partition(asked, labels, seed).assignment(4)) for seed in (0, 1)]
    assert [positions for _, positions in made[0]] != [positions for _, positions in made[1]]


@pytest.mark.parametrize("asked", ALL.values())
def test_shards_of_one_name_hold_the_same_samples(asked):
    dealer = partition(asked, np.tile(np.arange(10, dtype=np.int32), 100), seed=3)
    seen = {}
    for clients in (1, 2, 3, 4, 8):
        for name, positions in dealer.assignment(clients).shards():
            assert seen.setdefault(name, positions.tolist()) == positions.tolist()


@given(samples=st.integers(1, 2000), seed=st.integers(0, 2**32 - 1), clients=st.integers(1, 64))
def test_iid_is_ranges_of_one_shuffle(samples, seed, clients):
    if clients > samples:
        return

    def unread():
        raise AssertionError("no label is needed")

    made = Partition("iid", samples=samples, seed=seed, read_labels=unread).assignment(clients)
    order = np.random.default_rng((seed, samples)).permutation(samples)
    size, larger = divmod(samples, clients)
    ends = [client * size + min(client, larger) for client in range(clients + 1)]
    assert made.counts == equal_counts(samples, clients)
    for client, (name, positions) in enumerate(made.shards()):
        start, stop = ends[client], ends[client + 1]
        assert name == f"{start}-{stop}"
        assert np.array_equal(positions, np.sort(order[start:stop]))


def test_iid_spreads_sorted_classes():
    labels = np.repeat(np.arange(10, dtype=np.int32), 100)
    for _, positions in partition("iid", labels).assignment(4).shards():
        assert np.bincount(labels[positions], minlength=10).min() > 10


def test_a_shard_a_client_is_of_few_classes():
    labels = np.tile(np.arange(10, dtype=np.int32), 60)
    made = partition("shards:2", labels).assignment(10)
    assert made.counts == (60,) * 10
    assert all(len(set(labels[positions])) <= 2 for _, positions in made.shards())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("nothing", r"unknown --partition 'nothing'; known: dirichlet:A, iid, ramp, shards:K"),
        ("", "unknown --partition ''"),
        ("IID", "unknown --partition 'IID'"),
        ("iid:2", "--partition iid takes no number, so not iid:2"),
        ("iid:", "--partition iid takes no number"),
        *(
            (f"shards{number}", "--partition must be shards:K with a number above 0")
            for number in ("", ":", ":x", ":0", ":-1", ":nan", ":inf")
        ),
    ],
)
def test_a_name_that_is_none_is_refused(asked, message):
    with pytest.raises(UsageError, match=message):
        partition(asked, np.zeros(10, np.int32))


@pytest.mark.parametrize(
    ("asked", "clients", "message"),
    [
        ("iid", 11, "10 samples to 11 clients: each needs at least one; take fewer"),
        ("shards:1.5", 2, "1.5 is no whole number"),
        ("dirichlet:0.01", 8, "and [0-9] others would have none; take fewer clients, or another"),
    ],
)
def test_what_cannot_be_dealt_is_refused(asked, clients, message):
    with pytest.raises(PartitionError, match=message):
        partition(asked, np.zeros(10, np.int32)).assignment(clients)


def test_what_needs_classes_refuses_numbers():
    with pytest.raises(PartitionError, match="clients: it needs classes, and there are numbers"):
        partition("dirichlet:1", np.zeros(10, np.float32)).assignment(2)


@pytest.mark.parametrize(
    ("dealt", "message"),
    [
        ([[0, 1], [2, 3]], "sample 4 has 0 owners, and every sample has one"),
        ([[0, 1, 2], [2, 3, 4]], "sample 2 has 2 owners"),
        ([[0, 1, 2], [3, 4, 5]], "a client is given sample 5, and there are 0 to 4"),
        ([[-1, 0, 1, 2], [3]], "a client is given sample -1"),
        ([[0, 1, 2, 3, 4], []], "client 1 would have none"),
        ([[0, 1, 2], [3], [4]], "it makes 3 of them"),
        ([[0.0, 1.0, 2.0], [3.0, 4.0]], "a client is given float64 of shape"),
        ([[[0, 1, 2], [3, 4, 0]], [0]], r"a client is given int64 of shape \(2, 3\)"),
        ([[True, True, False], [False, True]], "a client is given bool"),
    ],
)
def test_a_partitioner_that_is_wrong_is_found_out(dealt, message):
    @partitioner("wrong")
    def wrong(asked):
        return [np.array(owned) for owned in dealt]

    try:
        with pytest.raises(PartitionError, match=message):
            partition("wrong", np.zeros(5, np.int32)).assignment(2)
    finally:
        del _REGISTERED["wrong"]


def test_ranges_that_do_not_cover_are_found_out():
    @partitioner("wrong")
    def wrong(asked):
        return Assignment.of_ranges((2, 2), lambda: np.array([0, 1, 1, 2]))

    try:
        with pytest.raises(PartitionError, match="it deals 4"):
            partition("wrong", np.zeros(5, np.int32)).assignment(2)
        made = partition("wrong", np.zeros(4, np.int32)).assignment(2)
        with pytest.raises(PartitionError, match="sample 1 has 2 owners"):
            list(made.shards())
    finally:
        del _REGISTERED["wrong"]
