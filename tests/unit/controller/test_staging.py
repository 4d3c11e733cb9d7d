"""What is staged is what an assignment says, of the split as the training has it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from disdel.controller.federating.client_data import StagedSamples
from disdel.controller.federating.roster import Roster
from disdel.controller.training.splits import SplitSamples, job_partition, job_samples
from disdel.controller.training.staging import let_go, shard_keys, stage
from disdel.data import DatasetArrays
from disdel.protocol.keys import RunKeys
from disdel.store.codec import encode, encoded_rows, read_tensors
from disdel.store.memory_store import MemoryStore
from disdel.types import FederateJob, TrainJob, Validation, feature_of
from disdel.types.assignment import Assignment
from tests.support.planning import dataset, plan

KEYS = RunKeys("run")


def samples_of(job):
    """Samples that are their number, with classes in blocks."""
    spec = dataclasses.replace(dataset(200, 30), features=(feature_of((1,), "float32"),))
    train, test = np.arange(200, dtype=np.float32), np.arange(1000, 1030, dtype=np.float32)
    arrays = DatasetArrays(
        spec=spec,
        train_x=train[:, None],
        train_y=np.repeat(np.arange(10, dtype=np.int32), 20),
        test_x=test[:, None],
        test_y=np.zeros(30, np.int32),
    )
    return job_samples(arrays, job)


@pytest.mark.parametrize("validation", [Validation(), Validation(patience=2)])
@pytest.mark.parametrize("partition", ["iid", "shards:2", "dirichlet:1", "sizes:linear"])
def test_each_shard_holds_what_its_client_owns(partition, validation):
    job = TrainJob(
        dataset="mnist", partition=partition, validation=validation, workers=3, batch_size=8
    )
    samples = samples_of(job)
    dealt = job_partition(job, samples.spec, lambda: samples)
    made = plan(job, samples.spec, counts=dealt.counts)
    assignment, store, staged = dealt.assignment(3), MemoryStore(), set()
    stage(store, KEYS, made, assignment, samples, staged)
    assert staged == shard_keys(KEYS, made, assignment) == set(store._blobs)
    shards = [read_tensors(store, KEYS.shard("train", name)) for name in assignment.names]
    assert tuple(len(shard["x"]) for shard in shards) == made.client_samples
    rows = samples.splits["train"].rows(np.arange(samples.spec.train_samples))
    numbers = np.concatenate([shard["x"][:, 0] for shard in shards])
    assert sorted(numbers) == list(samples.splits["train"].x[rows, 0])
    for shard in shards:
        assert np.array_equal(shard["y"], shard["x"][:, 0] // 20)
    test = [read_tensors(store, KEYS.shard("test", part.name))["x"] for part in made.test_slices]
    assert np.array_equal(np.concatenate(test)[:, 0], np.arange(1000, 1030))


def test_what_is_there_stays_and_what_is_not_wanted_goes():
    job = TrainJob(dataset="mnist", workers=2, batch_size=8)
    samples = samples_of(job)
    dealt = job_partition(job, samples.spec, lambda: samples)
    store, staged = MemoryStore(), set()
    for workers in (2, 4, 2):
        made = plan(dataclasses.replace(job, workers=workers), samples.spec, counts=dealt.counts)
        assignment = dealt.assignment(workers)
        stage(store, KEYS, made, assignment, samples, staged)
        assert staged == shard_keys(KEYS, made, assignment) == set(store._blobs)


def test_rows_of_a_range_are_no_copy():
    x = np.arange(400_000, dtype=np.float32).reshape(-1, 4)
    head, *blocks = encoded_rows({"x": x}, slice(100, 99_000))
    assert b"".join([head, *blocks]) == encode({"x": x[100:99_000]})
    assert all(np.shares_memory(np.frombuffer(block, np.uint8), x) for block in blocks)
    positions = np.arange(100, 99_000)
    assert b"".join(encoded_rows({"x": x}, positions)) == encode({"x": x[100:99_000]})


@pytest.fixture
def mapped(tmp_path):
    """A file of a thousand samples, as a data set's is mapped."""
    path = tmp_path / "train_x.npy"
    np.save(path, np.ones((1000, 4096), np.uint8))
    return np.load(path, mmap_mode="r"), path


def resident_kb(path):
    """Of a mapped file, what counts as memory of this process."""
    try:
        entries = Path("/proc/self/smaps").read_text().split(f"{path}\n")[1:]
    except OSError:
        pytest.skip("only Linux says what of a mapped file is resident")
    return sum(int(entry.partition("Rss:")[2].split()[0]) for entry in entries)


@pytest.mark.parametrize("view", [lambda x: x, np.asarray, lambda x: np.asarray(x)[10:][::2]])
def test_what_was_read_of_a_mapped_file_is_let_go(mapped, view):
    x, path = mapped
    assert x.sum() == x.size
    assert resident_kb(path) > 1000
    let_go(view(x))
    assert resident_kb(path) == 0
    assert x.sum() == x.size
    let_go(np.ones(3), np.ones((4, 4))[1:])


def test_samples_of_clients_are_let_go_once_they_are_in_the_store(mapped):
    x, path = mapped
    job = FederateJob(dataset="digits", clients=10)
    sizes = np.full(10, 100)
    roster = Roster(job, Assignment.of_ranges(sizes, lambda: np.arange(1000)))
    store = MemoryStore()
    split = SplitSamples(x=np.asarray(x), y=np.zeros(1000, np.int32))
    staged = StagedSamples(store, KEYS, roster, split, dataset(1000, 30), None)
    staged.make_ready(list(range(10)))
    assert read_tensors(store, staged.key(3))["x"].shape == (100, 4096)
    assert resident_kb(path) == 0


@pytest.mark.parametrize("is_here", [True, False])
def test_a_store_in_this_machines_memory_keeps_the_samples_of_two_rounds(is_here):
    roster = Roster(
        FederateJob(dataset="digits", clients=10),
        Assignment.of_ranges(np.full(10, 2), lambda: np.arange(20)),
    )
    store = MemoryStore()
    split = SplitSamples(x=np.zeros((20, 3), np.uint8), y=np.zeros(20, np.int32))
    data = StagedSamples(store, KEYS, roster, split, dataset(20, 20), None, is_here=is_here)

    def there():
        return {client for client in range(10) if store.open(data.key(client)) is not None}

    for number in range(3):
        data.make_round_ready([number, number + 1], [])
    assert there() == ({1, 2, 3} if is_here else {0, 1, 2, 3})
    # Who is late, and what is scored, is not of a round.
    data.make_ready([9])
    data.make_round_ready([5], [1])
    data.make_round_ready([6], [1])
    assert there() == ({1, 5, 6, 9} if is_here else {0, 1, 2, 3, 5, 6, 9})
    data.make_round_ready([1], [])
    data.make_round_ready([2], [])
    data.make_round_ready([2], [])
    assert there() == ({2, 9} if is_here else {0, 1, 2, 3, 5, 6, 9})
