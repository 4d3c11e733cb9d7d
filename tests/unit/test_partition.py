import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from disdel.planner.partition import partition, shuffled


@given(samples=st.integers(0, 5000), workers=st.integers(1, 64))
def test_every_sample_is_in_exactly_one_shard(samples, workers):
    shards = partition(samples, workers)
    positions = [position for shard in shards for position in range(shard.start, shard.stop)]
    assert positions == list(range(samples))
    assert [shard.worker for shard in shards] == list(range(workers))


@given(samples=st.integers(0, 5000), workers=st.integers(1, 64))
def test_sizes_differ_by_at_most_one(samples, workers):
    sizes = [shard.samples for shard in partition(samples, workers)]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@given(samples=st.integers(0, 2000), seed=st.integers(0, 2**32 - 1))
def test_shuffling_is_a_permutation_that_the_seed_decides(samples, seed):
    order = shuffled(samples, seed)
    assert sorted(order) == list(range(samples))
    assert np.array_equal(order, shuffled(samples, seed))


def test_sorted_classes_are_spread_over_the_shards():
    labels = np.repeat(np.arange(10), 100)
    order = shuffled(1000, seed=0)
    for shard in partition(1000, 4):
        counts = np.bincount(labels[order[shard.start : shard.stop]], minlength=10)
        assert counts.min() > 10
