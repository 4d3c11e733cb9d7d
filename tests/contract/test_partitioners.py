"""What every partitioner must do, and what becomes of one that does not."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disdel.data.partitioners import Partition, partitioner, partitioner_names
from disdel.data.partitioners.built_in import cut_by
from disdel.data.partitioners.registry import _REGISTERED
from disdel.errors import PartitionError, UsageError
from disdel.types.assignment import Assignment, ClientIds, equal_counts

ALL = {
    "iid": ["iid"],
    "shards": ["shards:2", "shards:size=30"],
    "classes": ["classes:10", "classes:2"],
    "dirichlet": ["dirichlet:0.5", "dirichlet:5,least=3"],
    "sizes": ["sizes:linear", "sizes:square", "sizes:exponential,least=1", "sizes:powerlaw:1.5"],
    # Its clients are those of the column.
    "by": [],
}
EACH = [asked for several in ALL.values() for asked in several]
# What flwr-datasets makes of the same labels; `make.py` beside it says how it was made.
FLOWER = json.loads((Path(__file__).parent / "flwr_datasets/statistics.json").read_text())
FLOWER_LABELS = (np.arange(6000) * 7919 % 10).astype(np.int32)

classes = st.lists(st.integers(0, 9), min_size=1, max_size=300).map(
    lambda drawn: np.array(drawn, np.int32)
)
numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300).map(
    lambda drawn: np.array(drawn, np.float32)
)


def partition(asked, labels, seed=0):
    return Partition(asked, samples=len(labels), seed=seed, read_labels=lambda: labels)


def partition_of_ids(ids, asked="by:user"):
    values, codes = np.unique(ids, return_inverse=True)

    def read(column):
        assert column == asked.partition(":")[2]
        return ClientIds(values, codes)

    return Partition(
        asked, samples=len(ids), seed=0, read_labels=lambda: np.zeros(len(ids)), read_ids=read
    )


def dealt_or_refused(asked, labels, seed, clients):
    try:
        return partition(asked, labels, seed).assignment(clients)
    except PartitionError as error:
        return str(error)


def shards_of(made):
    return [(name, positions.tolist()) for name, positions in made.shards()]


def test_every_partitioner_is_examined():
    assert {usage.partition(":")[0].partition("[")[0] for usage in partitioner_names()} == set(ALL)


@pytest.mark.parametrize("asked", EACH)
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


@pytest.mark.parametrize("asked", EACH)
@given(seed=st.integers(0, 2**32 - 1), clients=st.integers(1, 5))
@settings(max_examples=20)
def test_the_seed_alone_decides(asked, seed, clients):
    labels = np.tile(np.arange(10, dtype=np.int32), 100)
    np.random.seed(seed % 1000)  # somebody else's
    clients = max(clients, 5 if asked == "classes:2" else 1)
    first = shards_of(partition(asked, labels, seed).assignment(clients))
    dealer = partition(asked, labels, seed)
    for other in (6, 7, clients):
        dealer.counts(other)
    assert shards_of(dealer.assignment(clients)) == first
    assert dealer.counts(clients) == tuple(len(positions) for _, positions in first)


@pytest.mark.parametrize("asked", EACH)
def test_another_seed_deals_otherwise(asked):
    labels = np.tile(np.arange(10, dtype=np.int32), 100)
    made = [shards_of(partition(asked, labels, seed).assignment(5)) for seed in (0, 1)]
    assert [positions for _, positions in made[0]] != [positions for _, positions in made[1]]


@pytest.mark.parametrize("asked", EACH)
def test_shards_of_one_name_hold_the_same_samples(asked):
    dealer = partition(asked, np.tile(np.arange(10, dtype=np.int32), 100), seed=3)
    seen = {}
    for clients in (5, 6, 10, 12):
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


def test_contiguous_classes_are_spread_by_iid():
    labels = np.repeat(np.array([0, 1], np.int32), 100)
    for _, positions in partition("iid", labels).assignment(2).shards():
        assert set(labels[positions]) == {0, 1}


def test_shards_of_mcmahan_are_200_of_300_for_100_clients():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10, dtype=np.int32), 6000))
    made = partition("shards:2", labels).assignment(100)
    assert made.counts == (600,) * 100
    for _, positions in made.shards():
        assert set(np.bincount(labels[positions], minlength=10)) <= {0, 300, 600}


def test_shards_of_one_size_are_dealt_as_evenly_as_their_number_allows():
    labels = np.tile(np.arange(10, dtype=np.int32), 6000)
    assert partition("shards:size=1000", labels).counts(9) == (7000,) * 6 + (6000,) * 3


def test_the_last_shard_may_be_smaller():
    labels = np.arange(995, dtype=np.int32) % 10
    counts = partition("shards:size=10", labels).counts(10)
    assert sorted(counts) == [95] + [100] * 9


@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_each_client_has_so_many_classes(k):
    labels = np.tile(np.arange(10, dtype=np.int32), 600)
    made = partition(f"classes:{k}", labels).assignment(20)
    assert [len(set(labels[positions])) for _, positions in made.shards()] == [k] * 20
    assert max(made.counts) - min(made.counts) <= k


@pytest.mark.parametrize("asked", ["classes:2", "dirichlet:0.1", "shards:2"])
def test_numbers_to_predict_are_dealt_by_their_size(asked):
    """A client has numbers of some of ten classes, which are cut at the quantiles."""
    labels = np.random.default_rng(1).normal(size=3000).astype(np.float32)
    made = partition(asked, labels).assignment(10)
    decile = np.searchsorted(np.quantile(labels, np.arange(0.1, 0.95, 0.1)), labels)
    held = [len(set(decile[positions])) for _, positions in made.shards()]
    assert max(held) <= 3 if asked != "dirichlet:0.1" else np.mean(held) < 8


def test_equal_numbers_to_predict_are_of_one_class():
    labels = np.repeat(np.array([1.0, 2.0], np.float32), [900, 100])
    made = partition("classes:1", labels).assignment(2)
    assert sorted(made.counts) == [100, 900]


@given(
    alpha=st.floats(1e-4, 1e6),
    clients=st.integers(1, 120),
    least=st.integers(1, 20),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_dirichlet_draw_ends_and_no_client_has_less_than_the_least(alpha, clients, least, seed):
    labels = np.tile(np.arange(10, dtype=np.int32), 200)
    made = dealt_or_refused(f"dirichlet:{alpha!r},least={least}", labels, seed, clients)
    assert isinstance(made, str) or (min(made.counts) >= least and sum(made.counts) == 2000)


def test_what_a_draw_shows_to_be_hopeless_is_not_drawn_again():
    labels = np.tile(np.arange(10, dtype=np.int32), 200)
    message = r"2\d\d clients had none in draw 1, and further ones would be alike; take fewer"
    with pytest.raises(PartitionError, match=message):
        partition("dirichlet:0.1", labels).assignment(1000)


def test_a_least_size_that_is_never_reached_is_refused_within_a_second():
    labels = np.tile(np.arange(10, dtype=np.int32), 6000)
    started_s = time.process_time()
    with pytest.raises(PartitionError, match="in each of 50 draws clients had fewer than 10 sampl"):
        partition("dirichlet:0.01,least=10", labels).assignment(100)
    assert time.process_time() - started_s < 10


@pytest.mark.parametrize("law", ["linear", "square", "exponential"])
def test_sizes_are_those_of_flower(law):
    labels = np.zeros(60_000, np.int32)
    assert list(partition(f"sizes:{law}", labels).counts(10)) == FLOWER[f"sizes:{law}"]


def test_sizes_by_a_power_law_are_zipfs():
    counts = partition("sizes:powerlaw:1", np.zeros(8300, np.int32)).counts(4)
    # 1/4, 1/3, 1/2 and 1 of 25/12.
    assert counts == (996, 1328, 1992, 3984)


def test_sizes_are_raised_to_a_least_one_and_the_others_keep_their_proportions():
    counts = partition("sizes:exponential,least=100", np.zeros(60_000, np.int32)).counts(10)
    assert counts[:4] == (100,) * 4
    assert counts[8] / counts[7] == pytest.approx(np.e, rel=1e-3)
    assert sum(counts) == 60_000


def test_sizes_are_of_all_classes():
    labels = np.repeat(np.arange(10, dtype=np.int32), 600)
    for _, positions in partition("sizes:linear", labels).assignment(5).shards():
        assert set(labels[positions]) == set(range(10))


def skew(made, labels):
    """Means over clients: effective number of classes, classes; and the sizes' deviation."""
    counts = np.array([np.bincount(labels[p], minlength=10) for _, p in made.shards()])
    share = counts / counts.sum(1, keepdims=True)
    entropy = -(share * np.log(np.where(share, share, 1))).sum(1)
    return np.exp(entropy).mean(), (counts > 0).sum(1).mean(), counts.sum(1).std()


@pytest.mark.parametrize(
    "asked", [name for name in FLOWER if name.startswith(("dir", "shards:", "cl"))]
)
def test_the_skew_is_that_of_flower(asked):
    made = np.array(
        [
            skew(partition(asked, FLOWER_LABELS, seed).assignment(20), FLOWER_LABELS)
            for seed in range(40)
        ]
    )
    # Flower's clients draw their classes, of which some have more clients than others.
    compared = 2 if asked.startswith("classes") else 3
    errors = np.hypot(FLOWER[asked]["std"], made.std(0)) / np.sqrt(40)
    difference = np.abs(made.mean(0) - FLOWER[asked]["mean"])
    assert (difference <= 4 * errors + 0.09)[:compared].all()


def test_shares_are_cut_as_flower_cuts_them():
    random = np.random.default_rng(5)
    shares = [random.dirichlet([0.3] * 20) for _ in range(10)]
    made = np.stack([cut_by(of_class, 600) for of_class in shares], axis=1)
    assert made.tolist() == FLOWER["shares of default_rng(5)"]


def test_each_natural_id_is_a_client():
    ids = np.random.default_rng(1).integers(0, 37, 6000)
    made = partition_of_ids(ids)
    assert made.decided_clients == 37
    assert sorted(made.counts(37)) == sorted(FLOWER["by:id"])
    for client, (_, positions) in enumerate(made.assignment(37).shards()):
        assert set(ids[positions]) == {client}


def test_natural_ids_may_be_texts_of_any_characters():
    ids = np.array(["b: 1, c=2", "a", "b: 1, c=2", "é"])
    made = partition_of_ids(ids, "by:user id, of=all: it")
    assert made.counts(3) == (1, 2, 1)
    assert made.assignment(3).ids.tolist() == ["a", "b: 1, c=2", "é"]


def test_3600_natural_ids_take_milliseconds():
    ids = np.random.default_rng(0).integers(0, 3600, 700_000)
    started_s = time.process_time()
    made = partition_of_ids(ids).assignment(3600)
    assert made.sizes.sum() == 700_000
    assert time.process_time() - started_s < 5


def test_another_number_of_clients_than_ids_is_refused():
    with pytest.raises(
        PartitionError, match="to 10 clients: it makes 2 of them, one for each value"
    ):
        partition_of_ids(np.array([1, 2, 2] * 10)).assignment(10)


@pytest.mark.parametrize(
    ("asked", "clients"),
    [
        ("iid", 10_000),
        ("shards:2", 10_000),
        ("classes:2", 10_000),
        ("sizes:linear,least=1", 10_000),
        ("dirichlet:1", 500),
    ],
)
def test_many_clients_take_no_objects_of_their_own(asked, clients):
    labels = np.random.default_rng(0).integers(0, 10, 60_000).astype(np.int32)
    made = partition(asked, labels).assignment(clients)
    assert made.sizes.nbytes == 8 * clients
    assert not vars(made).keys() & {"counts", "names"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            "nothing",
            r"unknown --partition 'nothing'; known: by:COLUMN, classes:K.* and your own as",
        ),
        ("", "unknown --partition ''"),
        ("IID", "unknown --partition 'IID'"),
        ("iid:2", "--partition iid:2: iid takes no parameters"),
        ("iid:", "--partition iid:: iid takes no parameters"),
        ("by", "--partition by lacks column; it is written by:COLUMN"),
        *(
            (f"dirichlet:{number}", "alpha must be a number from 0.0001 to 1e[+]06, not")
            for number in ("", "x", "nan", "inf")
        ),
        *(
            (f"dirichlet:{number}", "alpha must be from 0.0001 to 1e[+]06, not")
            for number in ("0", "-1", "1e300")
        ),
        ("shards:1.5", "k must be a whole number"),
        ("classes:0", "k must be from 1 to"),
        ("sizes:cubic", "law must be linear or square or exponential or powerlaw, not 'cubic'"),
        ("dirichlet:1,leats=3", "did you mean least"),
    ],
)
def test_a_name_that_is_none_is_refused(asked, message):
    with pytest.raises(UsageError, match=message):
        partition(asked, np.zeros(10, np.int32))


@pytest.mark.parametrize(
    ("asked", "clients", "message"),
    [
        ("iid", 11, "10 samples to 11 clients: each needs at least one; take fewer"),
        ("shards", 2, "shards:K deals K shards to each client"),
        ("shards:2,size=3", 2, "shards:K deals K shards to each client"),
        ("shards:6", 2, "there would be 12 shards of 10 samples"),
        ("shards:size=6", 3, "there would be 2 shards of 10 samples"),
        ("classes:2", 8, "the samples have 1 class$"),
        ("dirichlet:0.01", 8, "in each of 50 draws clients had none, [0-9] of them in the last"),
        ("dirichlet:1,least=6", 2, "least=6 needs 12 samples"),
        ("dirichlet:1,bins=6", 2, "bins=6 is for numbers to predict, and there are classes"),
        ("sizes:exponential", 8, "by exponential sizes 6 clients would have none; .* add least=1"),
        ("sizes:linear", 5, "by linear sizes 1 client would have none; .* add least=1"),
        ("sizes:powerlaw", 2, "powerlaw takes an exponent"),
        ("sizes:linear:2", 2, "powerlaw takes an exponent"),
        ("by:user", 2, "there is no column 'user': samples of this kind have none"),
    ],
)
def test_what_cannot_be_dealt_is_refused(asked, clients, message):
    with pytest.raises(PartitionError, match=message):
        partition(asked, np.zeros(10, np.int32)).assignment(clients)


@pytest.mark.parametrize(
    ("asked", "numbers", "message"),
    [
        ("classes:4,bins=3", np.arange(9), "have 3 classes of numbers by bins=3: raise bins, or"),
        ("classes:3", np.arange(9) // 5, "have 2 classes of numbers by bins=10, as equal numbers"),
        ("classes:2", np.zeros(9), "have 1 class of numbers by bins=10, as equal numbers stay in"),
    ],
)
def test_more_classes_than_numbers_are_put_into_are_refused_with_why(asked, numbers, message):
    with pytest.raises(PartitionError, match=message):
        partition(asked, numbers.astype(np.float32)).assignment(2)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("classes:1", "1 class would be nobody's: have more clients, or classes:2"),
        ("classes:2", "2 clients would share the 1 sam"),
    ],
)
def test_classes_that_do_not_go_round_are_refused(asked, message):
    labels = np.array([0] * 9 + [1], np.int32)
    with pytest.raises(PartitionError, match=message):
        partition(asked, labels).assignment(1 if asked == "classes:1" else 2)


@pytest.mark.parametrize("asked", ["shards:2", "classes:2", "dirichlet:1"])
def test_targets_with_axes_have_no_one_label(asked):
    with pytest.raises(PartitionError, match=r"targets are of shape \(3,\)"):
        partition(asked, np.zeros((10, 3), np.float32)).assignment(2)


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
