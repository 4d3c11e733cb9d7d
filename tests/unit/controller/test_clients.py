"""Clients that own unequal numbers of samples: steps, weights, rounds and resumption are theirs."""

import math
import time

import numpy as np
import pytest

from disdel.controller.runs.run_folder import run_folders
from disdel.errors import ActivationFailed, UsageError
from disdel.store.codec import read_tensors
from disdel.types import TrainJob
from disdel.types.events import RoundStarted
from tests.support import strategies
from tests.support.arithmetic import scores
from tests.support.fake_platform import activation

SAMPLES = 1438
# By the partitioner "sizes:linear".
OWNED = [239, 479, 720]
STEPS = [math.ceil(samples / 64) for samples in OWNED]


def trained(platform):
    return [arguments for _, arguments in platform.invoked if arguments["task"] == "train"]


def test_each_client_takes_the_steps_of_its_own_samples(run, platform, arithmetic):
    seen = {}

    def look(request):
        arithmetic.store.wait_for(request.shard_key, time.monotonic() + 30)
        seen[request.client] = read_tensors(arithmetic.store, request.shard_key)

    for worker in range(3):
        arithmetic.hooks[worker, 1] = look
    report, _ = run(epochs=2, workers=3, partition="sizes:linear")
    assert [len(seen[client]["x"]) for client in range(3)] == OWNED
    assert [share.samples for share in report.plan.shards] == OWNED
    sent = {(a["client"], a["round"]): (a["start_step"], a["stop_step"]) for a in trained(platform)}
    for client, steps in enumerate(STEPS):
        assert sent[client, 1] == (0, steps)
        assert sent[client, 2] == (steps, 2 * steps)
    assert {a["total_steps"] for a in trained(platform)} == {2 * steps for steps in STEPS}
    # What a stand-in has seen: ten samples a step.
    assert [entry.samples for entry in report.ledger] == [10 * steps for steps in STEPS] * 2
    assert [entry.client for entry in report.ledger] == [0, 1, 2] * 2
    mean = np.average([1, 2, 3], weights=STEPS)
    assert [entry.loss for entry in report.rounds] == pytest.approx([10 - mean, 10 - 2 * mean])
    assert report.settings["partition"] == "sizes:linear"


@pytest.mark.parametrize("average", ["samples", "equal"])
def test_with_rounds_of_steps_who_is_through_takes_no_part(run, platform, average):
    report, _ = run(epochs=3, workers=3, partition="sizes:linear", sync=5, average=average)
    total = [3 * steps for steps in STEPS]
    assert len(report.rounds) == math.ceil(max(total) / 5)
    weight = 0.0
    for number in range(1, len(report.rounds) + 1):
        taken = [max(0, min(5, all_steps - 5 * (number - 1))) for all_steps in total]
        entries = [entry for entry in report.ledger if entry.round == number]
        assert [(e.client, e.samples) for e in entries] == [
            (client, 10 * steps) for client, steps in enumerate(taken) if steps
        ]
        weights = taken if average == "samples" else [min(1, steps) for steps in taken]
        weight += np.average([1, 2, 3], weights=weights)
        assert report.rounds[number - 1].loss == pytest.approx(10 - weight)
    for client, all_steps in enumerate(total):
        own = [a for a in trained(platform) if a["client"] == client]
        assert sum(a["stop_step"] - a["start_step"] for a in own) == all_steps


@pytest.mark.parametrize("failing", [1, 3, 12])
@pytest.mark.parametrize(
    "job", [{"epochs": 14}, {"epochs": 4, "optimizer_state": "local", "sync": 3}]
)
def test_an_interrupted_run_of_unequal_clients_goes_on(run, arithmetic, failing, job):
    job = {"workers": 3, "partition": "sizes:linear", **job}
    whole, _ = run(**job)
    # Client 2 takes part until the end.
    arithmetic.hooks[2, failing] = lambda request: activation(
        77, "train", {"error": {"kind": "store", "message": "the shard cannot be read"}}
    )
    with pytest.raises(ActivationFailed):
        run(**job)
    [folder] = [folder for folder in run_folders(run.run_dir) if not folder.is_complete]
    arithmetic.hooks.clear()
    report, _ = run(resumed=folder)
    assert report.resumed_after == (failing - 1 or None)
    assert report.ledger == whole.ledger
    assert scores(report) == scores(whole)
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


def test_more_epochs_of_rounds_of_steps_that_cut_a_client_short_are_refused(run):
    """The smallest client was through before the last round, where its epochs ended."""
    _, folder = run(epochs=2, workers=3, partition="sizes:linear", sync=5)
    with pytest.raises(UsageError, match="cannot be raised any more"):
        run(resumed=folder, epochs=4)


@pytest.mark.parametrize(
    "job", [{}, {"optimizer_state": "local"}, {"sync": 4}, {"average": "equal"}]
)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_clients_take_turns_and_nothing_is_other_than_side_by_side(run, platform, workers, job):
    def updates(report):
        return [(e.round, e.client, e.samples, e.checksum) for e in report.ledger]

    # One average a round: a tree would round otherwise.
    job = {"epochs": 2, "partition": "sizes:linear", "clients": 5, "fan_in": 5, **job}
    side_by_side, _ = run(workers=5, **job)
    in_turn, _ = run(workers=workers, **job)
    assert updates(in_turn) == updates(side_by_side)
    # Another number of workers scores in other slices.
    losses = [entry.loss for entry in side_by_side.rounds]
    assert [entry.loss for entry in in_turn.rounds] == pytest.approx(losses)
    assert [r.train_loss for r in in_turn.rounds] == [r.train_loss for r in side_by_side.rounds]
    # In the first round, all take part.
    trained_by = {e.client: e.worker for e in in_turn.ledger if e.round == 1}
    assert set(trained_by.values()) == set(range(workers))
    assert trained_by == {share.client: share.worker for share in in_turn.plan.shards}
    trained = [e for e in in_turn.activations if e.task == "train"]
    assert {(e.client, e.worker) for e in trained if e.round == 1} == set(trained_by.items())
    assert in_turn.plan.invocations == len(in_turn.activations)


def test_workers_may_become_more_while_clients_keep_their_samples_and_optimizers(run, arithmetic):
    arithmetic.train_s = lambda request: 1.0 / request.round
    report, folder = run(
        epochs=4,
        clients=5,
        workers_policy="adapt",
        optimizer_state="local",
        partition="sizes:linear",
    )
    by_round = [[e for e in report.ledger if e.round == number] for number in range(1, 5)]
    assert [len({e.worker for e in entries}) for entries in by_round] == [2, 3, 4, 5]
    assert [[(e.client, e.samples) for e in entries] for entries in by_round] == [
        [(e.client, e.samples) for e in by_round[0]]
    ] * 4
    assert all(counted == number for (_, number), counted in arithmetic.own_rounds.items())
    assert len(arithmetic.own_rounds) == 5 * 4
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


def test_clients_that_take_part_are_shared_out_among_all_workers(run):
    """By their turns, clients 0, 2 and 4 are all the first worker's."""
    report, _ = run(epochs=2, clients=6, workers=2, strategy=strategies.EvenClients.name)
    shares = [(share.worker, share.client) for share in report.plan.shards]
    assert shares == [(0, 0), (0, 2), (0, 4), (1, 1), (1, 3), (1, 5)]
    for number in (1, 2):
        entries = [entry for entry in report.ledger if entry.round == number]
        assert [entry.client for entry in entries] == [0, 2, 4]
        assert {entry.worker for entry in entries} == {0, 1}


def test_a_lost_turn_is_taken_again_and_others_are_not(run, arithmetic, platform):
    job = {"epochs": 1, "clients": 4, "partition": "sizes:linear"}
    whole, _ = run(**job)
    lost = []

    def kill_once(request):
        if request.client == 3 and not lost:
            lost.append(request)
            text = "The action did not produce a valid response and exited unexpectedly."
            return activation(78, "train", {"error": text}, status="action developer error")
        return None

    for worker in range(2):
        arithmetic.hooks[worker, 1] = kill_once
    report, _ = run(**job)
    assert [e.attempt for e in report.ledger] == [0, 0, 0, 1]
    assert scores(report) == scores(whole)
    again = [entry for entry in report.activations if entry.attempt]
    assert [entry.client for entry in again if entry.task == "train"] == [3]


def test_more_workers_than_clients_are_refused():
    with pytest.raises(UsageError, match="--workers 4 is more than --clients 3: a worker trains"):
        TrainJob(dataset="digits", workers=4, clients=3)


def test_another_number_of_workers_deals_unequal_clients_anew(run, arithmetic):
    seen = {}

    def look(request):
        arithmetic.store.wait_for(request.shard_key, time.monotonic() + 30)
        shard = read_tensors(arithmetic.store, request.shard_key)
        seen.setdefault(request.round, []).append(shard["x"].reshape(-1, 64))

    arithmetic.train_s = lambda request: 1.0 / len(seen)
    for worker in range(6):
        for number in range(1, 5):
            arithmetic.hooks[worker, number] = look
    _, folder = run(epochs=4, workers_policy="adapt", partition="sizes:linear")
    whole = np.sort(np.concatenate(seen[1]), axis=0)
    for number in range(1, 5):
        assert len(seen[number]) == number + 1
        assert np.array_equal(np.sort(np.concatenate(seen[number]), axis=0), whole)
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


def test_a_partition_that_is_none_is_refused_before_anything_starts(run):
    with pytest.raises(UsageError, match="unknown --partition 'nothing'; known: "):
        run(epochs=1, partition="nothing")
    assert not any(isinstance(event, RoundStarted) for event in run.events)
    assert list(run_folders(run.run_dir)) == []
