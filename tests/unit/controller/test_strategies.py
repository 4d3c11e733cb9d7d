"""Strategies that only these tests know, through the rounds of a run."""

import pytest

from disdel.controller.runs.run_folder import run_folders
from disdel.errors import ActivationFailed, StrategyFailed, UsageError
from disdel.store.codec import read_tensors
from tests.support import strategies
from tests.support.arithmetic import scores
from tests.support.fake_platform import activation

# Clients add 1 and 2 in two steps: plainly, a round adds 1.5. The loss is 10 less the weight.
ROUNDS = {
    "fedavg": [8.5, 7.0, 5.5],
    # The second of two equal steps is a quarter of the first one shorter.
    strategies.FedProx.name: [10 - 1.3125, 10 - 2 * 1.3125, 10 - 3 * 1.3125],
    # 1.5, half of it and 1.5, half of that and 1.5.
    strategies.ServerMomentum.name: [8.5, 6.25, 3.625],
    # Each of two steps has half of what the round before added on top.
    strategies.Hurried.name: [8.5, 5.5, 1.0],
    strategies.InTurn.name: [9.0, 7.0, 6.0],
}


@pytest.mark.parametrize("name", ROUNDS)
def test_a_strategy_is_one_class(run, arithmetic, name):
    report, folder = run(epochs=3, strategy=name)
    assert [entry.loss for entry in report.rounds] == ROUNDS[name]
    assert report.settings["strategy"] == name
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


@pytest.mark.parametrize("name", [strategies.FedProx.name, strategies.ServerMomentum.name])
def test_neither_segments_nor_a_tree_change_what_a_strategy_comes_to(run, arithmetic, name):
    whole, _ = run(epochs=3, workers=5, fan_in=5, strategy=name)
    arithmetic.segments_of_worker_1 = 3
    cut, _ = run(epochs=3, workers=5, fan_in=2, strategy=name)
    assert [loss for loss, _, _ in scores(cut)] == pytest.approx([e.loss for e in whole.rounds])


def test_only_who_takes_part_trains_and_is_in_the_ledger(run, platform):
    report, _ = run(epochs=4, clients=3, strategy=strategies.InTurn.name, seed=1)
    taken = [(entry.round, entry.client) for entry in report.ledger]
    assert taken == [(1, 1), (2, 2), (3, 0), (4, 1)]
    trained = [(a["round"], a["client"]) for _, a in platform.invoked if a["task"] == "train"]
    assert trained == taken


def test_who_is_not_there_cannot_be_chosen(run):
    with pytest.raises(StrategyFailed, match=r"test-strangers chose \[0, 1, 99\] for round 1"):
        run(epochs=1, strategy=strategies.Strangers.name)


def test_a_strategy_that_is_not_known_is_refused_before_anything_runs(run, platform):
    with pytest.raises(UsageError, match=r"--strategy 'fedsgd' is unknown; known: fedavg"):
        run(strategy="fedsgd")
    assert not platform.invoked


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "job"),
    [
        (strategies.ServerMomentum.name, {}),
        (strategies.Hurried.name, {}),
        (strategies.InTurn.name, {"optimizer_state": "local"}),
    ],
)
def test_a_run_goes_on_with_what_its_strategy_keeps(run, arithmetic, failing, name, job):
    whole, _ = run(epochs=4, strategy=name, **job)
    own_rounds = dict(arithmetic.own_rounds)
    broken = activation(1, "train", {"error": {"kind": "store", "message": "unreadable"}})
    for client in (0, 1):
        arithmetic.hooks[client, failing] = lambda request: broken
    with pytest.raises(ActivationFailed):
        run(epochs=4, strategy=name, **job)
    [folder] = [folder for folder in run_folders(run.run_dir) if not folder.is_complete]
    arithmetic.hooks.clear()
    report, _ = run(resumed=folder)
    assert scores(report) == scores(whole)
    assert report.ledger == whole.ledger
    assert arithmetic.own_rounds == own_rounds
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


def test_what_a_strategy_keeps_is_there_for_one_round_only(run, arithmetic):
    seen = []

    def look(request):
        prefix = request.state_key.rpartition("state:")[0]
        keys = [f"{prefix}kept:{number}" for number in range(4)]
        seen.append([number for number, key in enumerate(keys) if arithmetic.store.open(key)])
        if request.round == 3:
            kept = read_tensors(arithmetic.store, keys[2])
            assert {name: value.tolist() for name, value in kept.items()} == {
                "momentum/w": [2.25, 2.25]
            }

    for number in (1, 2, 3):
        arithmetic.hooks[0, number] = look
    run(epochs=3, strategy=strategies.ServerMomentum.name)
    assert seen == [[], [1], [2]]
