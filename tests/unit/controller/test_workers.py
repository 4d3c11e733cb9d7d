"""The workers of a round: which samples each has, and how their updates become one average."""

import json
import time

import numpy as np
import pytest

from disdel.settings import Settings
from disdel.store.codec import read_tensors
from disdel.types import Limits
from tests.support.arithmetic import scores


def test_workers_get_their_own_shard_and_nothing_else(run, platform):
    run(epochs=1)
    shards = {a["worker"]: a["shard_key"] for n, a in platform.invoked if a["task"] == "train"}
    assert len(set(shards.values())) == 2
    # The description of the network takes 850 bytes, keys in the store 400.
    assert all("x" not in a and len(json.dumps(a)) < 2200 for _, a in platform.invoked)


def test_a_round_in_segments_counts_every_sample_once(run, arithmetic):
    whole, _ = run(epochs=1)
    arithmetic.segments_of_worker_1 = 3
    cut, _ = run(epochs=1)
    segments = [e for e in cut.activations if e.task == "train" and e.worker == 1]
    assert [e.segment for e in segments] == [0, 1, 2]
    assert [e.outcome for e in segments] == ["continued-time", "continued-time", "ok"]
    assert scores(cut)[0] == scores(whole)[0]
    assert cut.rounds[0].train_loss == whole.rounds[0].train_loss


@pytest.mark.parametrize(
    ("limits", "most", "expected"),
    [
        ({}, None, [2, 3, 4, 5, 4, 3]),
        ({}, 3, [2, 3, 3, 3, 3, 3]),
        ({"pool_memory_mb": 1400}, None, [2, 2, 2, 2, 2, 2]),
    ],
)
def test_workers_become_more_and_fewer_and_every_sample_has_one(
    run, arithmetic, tmp_path, limits, most, expected
):
    seen = {}

    def look(request):
        arithmetic.store.wait_for(request.shard_key, time.monotonic() + 30)
        shard = read_tensors(arithmetic.store, request.shard_key)
        seen.setdefault(request.round, []).append(shard["x"])

    def seconds(request):
        workers = round(1438 / len(seen[request.round][-1]))
        return 1.0 + abs(4 - workers)

    arithmetic.train_s = seconds
    for worker in range(6):
        for number in range(1, 7):
            arithmetic.hooks[worker, number] = look
    settings = Settings(run_dir=tmp_path / "runs", limits=Limits(**limits))
    report, folder = run(settings, epochs=6, workers_policy="adapt", workers_max=most)
    per_round = [[e for e in report.ledger if e.round == number] for number in range(1, 7)]
    assert [len(entries) for entries in per_round] == expected
    samples = {number: np.concatenate(shards) for number, shards in seen.items()}
    first = np.sort(samples[1].reshape(1438, -1), axis=0)
    for number, workers in enumerate(expected, 1):
        assert len(seen[number]) == workers
        assert len(samples[number]) == 1438
        assert np.array_equal(np.sort(samples[number].reshape(1438, -1), axis=0), first)
    assert {e.memory_mb for e in report.activations if e.task == "train"} == {report.plan.memory_mb}
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


@pytest.mark.parametrize(("average", "mean"), [("samples", 130 / 60), ("equal", 2.5)])
def test_what_a_part_weighs(run, average, mean):
    """Workers add 1, 2, 3 and 4; the first two have 360 samples, so a second step each."""
    report, _ = run(epochs=1, workers=4, batch_size=359, average=average)
    assert report.rounds[0].loss == pytest.approx(10 - mean)
    assert [entry.samples for entry in report.ledger] == [20, 20, 10, 10]


def test_many_workers_are_averaged_in_a_tree(run, arithmetic):
    flat, _ = run(epochs=1, workers=11, fan_in=11)
    tree, _ = run(epochs=1, workers=11, fan_in=3)
    collects = [entry for entry in tree.activations if entry.task == "collect"]
    # The first container starts; groups of 3, 3, 3 and 2; of these 3 and 1; then one of 2.
    assert len(collects) == 1 + 4 + 2 + 1
    assert tree.rounds[0].loss == pytest.approx(flat.rounds[0].loss)
    assert tree.ledger == flat.ledger
    assert sorted(entry.worker for entry in tree.ledger) == list(range(11))


def test_the_container_of_the_averages_starts_while_the_workers_train(run, arithmetic, platform):
    report, _ = run(epochs=2)
    collects = [request for action, request in platform.invoked if action == "collectWeights"]
    assert [len(request["updates"]) for request in collects] == [0, 2, 2]
    starts = [entry.start for entry in report.activations if entry.task == "collect"]
    assert starts == ["cold", "warm", "warm"]


def test_one_worker_averages_on_its_own_container(run, arithmetic, platform):
    report, _ = run(epochs=2, workers=1)
    assert {action for action, _ in platform.invoked} == {"train"}
    # One more a round.
    assert arithmetic.exported == 2
    assert [(entry.round, entry.worker) for entry in report.ledger] == [(1, 0), (2, 0)]
    assert report.plan.invocations == len(report.activations)
