import dataclasses
import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.errors import AggregationError
from disdel.protocol.messages import Update
from disdel.store.codec import encode, read_header, read_tensors
from disdel.store.memory_store import MemoryStore
from disdel.worker.collect import average
from disdel.worker.spans import spans

NETWORK = {"kernel": (30, 7), "bias": (7,), "scalar": (), "empty": (0, 3)}


def network(seed, iterations):
    rng = np.random.default_rng(seed)
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in NETWORK.items()}
    return tensors | {"iterations": np.array(iterations, np.int64)}


def store_updates(networks, samples):
    store = MemoryStore()
    updates = []
    for worker, (tensors, count) in enumerate(zip(networks, samples, strict=True)):
        store.put(f"update:{worker}", encode(tensors, {"samples": str(count)}))
        updates.append(
            Update(
                client=worker,
                worker=worker,
                attempt=0,
                key=f"update:{worker}",
                samples=count,
                weight=count,
            )
        )
    return store, updates


@given(
    samples=st.lists(st.integers(1, 1000), min_size=1, max_size=5),
    span_bytes=st.integers(1, 2000),
    order=st.randoms(use_true_random=False),
)
def test_the_average_of_whole_networks(samples, span_bytes, order):
    networks = [network(seed, seed) for seed in range(len(samples))]
    store, updates = store_updates(networks, samples)
    order.shuffle(updates)
    averaged = average(store, updates, "state", span_bytes=span_bytes)
    mean = read_tensors(store, "state")
    names = {tensor.name for tensor in averaged[0].header.tensors}
    assert names == mean.keys() == networks[0].keys()
    collected = [source.collected() for source in averaged]
    assert [update.worker for update in collected] == list(range(len(samples)))
    assert [update.samples for update in collected] == samples
    for name in NETWORK:
        expected = np.average([n[name] for n in networks], axis=0, weights=samples)
        np.testing.assert_allclose(mean[name], expected, rtol=1e-6, atol=1e-7)
    assert mean["iterations"] == len(samples) - 1


def test_equal_weights_are_no_matter_of_samples():
    networks = [network(seed, 1) for seed in range(2)]
    store, updates = store_updates(networks, [10, 1000])
    average(store, [dataclasses.replace(update, weight=1) for update in updates], "state")
    expected = (networks[0]["kernel"] + networks[1]["kernel"]) / 2
    np.testing.assert_allclose(read_tensors(store, "state")["kernel"], expected, rtol=1e-6)
    assert read_header(store.existing("state")).metadata["samples"] == "1010"


def test_the_order_of_arrival_does_not_change_a_bit():
    networks = [network(seed, 1) for seed in range(4)]
    store, updates = store_updates(networks, [3, 5, 7, 11])
    average(store, updates, "one")
    average(store, updates[::-1], "other")
    assert store.get("one") == store.get("other")


def test_the_ledger_tells_what_was_averaged():
    """The checksum is that of the update's tensors as they are stored."""
    store, updates = store_updates([network(0, 1), network(1, 1)], [3, 4])
    averaged = average(store, updates, "state")
    for update, source in zip(updates, averaged, strict=True):
        data = store.get(update.key)
        header = read_header(store.existing(update.key))
        expected = hashlib.blake2b(data[len(header.raw) :], digest_size=16).hexdigest()
        assert source.collected().checksum == expected


def test_a_part_of_other_samples_than_reported_is_refused():
    store, updates = store_updates([network(0, 1), network(1, 1)], [3, 4])
    updates[1] = dataclasses.replace(updates[1], samples=5)
    with pytest.raises(
        AggregationError, match="client 1 is made of 4 samples, and 5 were reported"
    ):
        average(store, updates, "state")


def test_a_missing_part_means_no_average():
    store, updates = store_updates([network(0, 1), network(1, 1)], [1, 1])
    store.delete_prefix("update:1")
    with pytest.raises(AggregationError, match="the update of client 1 is missing"):
        average(store, updates, "state")
    assert store.open("state") is None


def test_two_updates_of_one_client_are_refused():
    store, [update] = store_updates([network(0, 1)], [1])
    with pytest.raises(AggregationError, match="a client has two updates"):
        average(store, [update, update], "state")


def test_no_parts_are_no_average():
    with pytest.raises(AggregationError, match="without updates"):
        average(MemoryStore(), [], "state")


def test_a_worker_without_samples_is_refused():
    store, updates = store_updates([network(0, 1), network(1, 1)], [5, 0])
    with pytest.raises(AggregationError, match="weights must be positive"):
        average(store, updates, "state")
    assert store.open("state") is None


@pytest.mark.parametrize(
    "other",
    [
        {"kernel": np.zeros((30, 8), np.float32)},
        {"kernel": np.zeros((30, 7), np.float64)},
        {"extra": np.zeros(3, np.float32)},
    ],
)
def test_different_networks_are_refused(other):
    store, updates = store_updates([network(0, 1), network(0, 1) | other], [1, 1])
    with pytest.raises(AggregationError, match="clients 0 and 1 trained different networks"):
        average(store, updates, "state")


@given(span_bytes=st.integers(1, 400))
def test_spans_cover_the_data_once_and_stay_small(span_bytes):
    store, [update] = store_updates([network(0, 1)], [1])
    [source] = average(store, [update], "state")
    header = source.header
    covered = list(spans(header.tensors, span_bytes))
    assert covered[0].start == 0
    assert covered[-1].stop == header.data_bytes
    assert all(a.stop == b.start for a, b in itertools.pairwise(covered))
    for span in covered:
        assert (span.stop - span.start) % span.dtype.itemsize == 0
        assert span.stop - span.start <= max(span_bytes, span.dtype.itemsize)
