"""Strategies that only these tests know, through the rounds of a run."""

import math

import numpy as np
import pytest

from disdel.controller.runs.run_folder import run_folders
from disdel.errors import (
    ActivationFailed,
    DisdelError,
    StrategyFailed,
    TrainingDiverged,
    UsageError,
)
from disdel.store.codec import read_tensors
from disdel.strategies.asking import strategy_said, text_of
from disdel.types.events import Noted
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
    # 1.5, and 90 % of what a round before has moved.
    "fedavgm": [8.5, 10 - 1.5 - 2.85, 10 - 1.5 - 2.85 - 4.065],
    "fedavgm:momentum=0": [8.5, 7.0, 5.5],
    "fedavgm:momentum=0,lr=2": [7.0, 4.0, 1.0],
    "fedprox:mu=0.25": [10 - 1.3125, 10 - 2 * 1.3125, 10 - 3 * 1.3125],
    "fedprox:mu=0": [8.5, 7.0, 5.5],
    "median": [8.5, 7.0, 5.5],
    # Of two equal weights, each of which then changes by the root of a half.
    "norm-clipping:bound=1": [10 - number * math.sqrt(0.5) for number in (1, 2, 3)],
}


@pytest.mark.parametrize("name", ROUNDS)
def test_a_strategy_is_one_class(run, arithmetic, name):
    report, folder = run(epochs=3, strategy=name)
    assert [entry.loss for entry in report.rounds] == pytest.approx(ROUNDS[name], rel=1e-12)
    # With its parameters, as whoever resumes the run has them.
    assert report.settings["strategy"] == text_of(strategy_said(name))
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
    with pytest.raises(UsageError, match=r"--strategy 'fedsgd' is unknown; known: .*fedavg, "):
        run(strategy="fedsgd")
    assert not platform.invoked


@pytest.mark.parametrize("failing", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "job"),
    [
        (strategies.ServerMomentum.name, {}),
        (strategies.Hurried.name, {}),
        (strategies.InTurn.name, {"optimizer_state": "local"}),
        ("fedadam:lr=0.5", {}),
        ("scaffold", {"optimizer": "sgd", "clients": 3}),
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
    # What went before is deleted once the last average is scored, which workers do first.
    assert seen == [[], [1], [1, 2]]


class ScaffoldByHand:
    """What the stand-in's clients come to, in plain numbers."""

    def __init__(self, clients, steps, rate):
        self.weight, self.c, self.own = 0.0, 0.0, [0.0] * clients
        self.steps, self.rate = steps, rate

    def round(self, taking_part):
        changes, moved = [], 0.0
        for client in taking_part:
            after = self.weight
            for _ in range(2):
                after -= -(client + 1) / 2 + self.c - self.own[client]
            changes.append(after - self.weight)
            gradient = -changes[-1] / (self.steps[client] * self.rate)
            moved += gradient - self.c
            self.own[client] += gradient - self.c
        self.weight += sum(changes) / len(changes)
        self.c += moved / len(self.own)
        return 10 - self.weight


SCAFFOLD = {
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "average": "equal",
    "clients": 3,
    "strategy": "scaffold",
}


@pytest.mark.parametrize("segments", [1, 3])
def test_scaffold_keeps_what_each_client_has_learnt_of_its_last_round(run, arithmetic, segments):
    arithmetic.segments_of_worker_1 = segments
    report, folder = run(epochs=4, **SCAFFOLD)
    # 1438 samples of digits are dealt to 479 or 480 of a client: 8 steps of 64.
    by_hand = ScaffoldByHand(3, [8] * 3, 0.5)
    expected = [by_hand.round(range(3)) for _ in range(4)]
    assert [entry.loss for entry in report.rounds] == pytest.approx(expected)
    plain, _ = run(epochs=4, clients=3, average="equal")
    # Before anything is kept, it is federated averaging; and then it is not.
    assert report.rounds[0].loss == plain.rounds[0].loss
    made = [[e.checksum for e in r.ledger if e.round == 2] for r in (report, plain)]
    assert made[0] != made[1]
    assert arithmetic.store.delete_prefix(f"disdel:{folder.run}:") == 0


def test_scaffold_divides_by_all_clients_and_takes_each_as_it_last_was(run):
    """Only clients 0 and 2 take part, and one that never does moves nothing."""
    report, _ = run(epochs=3, **(SCAFFOLD | {"strategy": "test-scaffold-of-even-clients"}))
    by_hand = ScaffoldByHand(3, [8] * 3, 0.5)
    expected = [by_hand.round([0, 2]) for _ in range(3)]
    assert [entry.loss for entry in report.rounds] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("strategy", "ruined"),
    [
        ("fedavg", True),
        ("median", False),
        ("trimmed-mean:beta=0.2", False),
        ("krum:f=1", False),
        ("multi-krum:f=1", False),
        ("norm-clipping", False),
    ],
)
def test_one_poisoned_client_ruins_fedavg_and_not_the_robust(run, arithmetic, strategy, ruined):
    """Of five clients that go 1 to 5 a round, the last one goes a hundred times as far."""
    arithmetic.sent = lambda w, request: w + 99 * 5 * (request.client == 4)
    report, _ = run(epochs=1, clients=5, strategy=strategy, average="equal")
    moved = 10 - report.rounds[0].loss
    assert moved > 100 if ruined else 1 <= moved <= 5


@pytest.mark.parametrize(
    ("strategy", "counted"),
    [
        ("krum", [0, 1, 0, 0, 0]),
        ("multi-krum:f=1,keep=3", [50, 50, 50, 0, 0]),
        ("median", [1] * 5),
    ],
)
def test_the_ledger_tells_who_was_taken(run, arithmetic, strategy, counted):
    """Of five clients that go 1 to 5 a round, the last one goes a hundred times as far."""
    arithmetic.sent = lambda w, request: w + 99 * 5 * (request.client == 4)
    report, _ = run(epochs=1, clients=5, strategy=strategy)
    assert [entry.weight for entry in report.ledger] == counted


@pytest.mark.parametrize("told", ["sent", "diverged"])
def test_a_client_of_no_numbers_is_left_out_by_name(run, arithmetic, told):
    if told == "sent":
        arithmetic.sent = lambda w, request: w + (np.nan if request.client == 1 else 0)
    else:
        broken = {"error": {"kind": "diverged", "message": "the loss of client 1 became nan"}}
        for worker in range(2):
            arithmetic.hooks[worker, 1] = lambda request: (
                activation(1, "train", broken) if request.client == 1 else None
            )
    report, _ = run(epochs=1, clients=4, strategy="median")
    assert [entry.client for entry in report.ledger] == [0, 2, 3]
    assert report.rounds[0].loss == 10 - 3
    notes = [event.message for event in run.events if isinstance(event, Noted)]
    [note] = [note for note in notes if "goes on without" in note]
    assert "client 1" in note


def test_where_all_diverge_the_run_does(run, arithmetic):
    arithmetic.sent = lambda w, request: w + np.inf
    with pytest.raises(TrainingDiverged, match="no client of the round has sent numbers alone"):
        run(epochs=1, clients=3, strategy="median")


def test_no_number_is_averaged(run, arithmetic):
    arithmetic.sent = lambda w, request: w + (np.nan if request.client == 1 else 0)
    with pytest.raises(DisdelError, match="the update of client 1 has nan in w, and the mean"):
        run(epochs=1, clients=3)


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (
            {"strategy": "krum:f=1", "clients": 4},
            "at least 5 updates a round, and there are 4",
        ),
        ({"strategy": "krum:f=0", "workers": 2}, "needs at least 3 updates"),
        ({"strategy": "trimmed-mean:beta=0.2", "clients": 4}, "trims nothing of 4 updates"),
        ({"strategy": "trimmed-mean:beta=0.5", "clients": 4}, "leaves nothing of 4 updates"),
        ({"strategy": "multi-krum:f=1,keep=5", "clients": 5}, "would keep 5 of 5"),
        ({"strategy": "median", "clients": 3, "fan_in": 2}, "needs all of a round in one action"),
        ({"strategy": "scaffold"}, "those of SGD, and they are adam's: add --optimizer sgd"),
        ({"strategy": "fednova:momentum=0.9", "optimizer": "sgd"}, "SGD has 0: say --strategy"),
        ({"strategy": "fedbuff"}, "takes updates as they come"),
        ({"strategy": "fedasync"}, "takes updates as they come"),
        ({"strategy": "fedprox:nu=1"}, "no parameter nu; it is written fedprox"),
        ({"strategy": "fedprox:mu=-1"}, "mu must be from 0 to"),
        ({"outer": "median"}, "--outer median is no optimizer of the averaged difference"),
        ({"outer": "nesterov", "strategy": "median"}, "both say what becomes"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_runs(run, platform, job, told):
    with pytest.raises(UsageError, match=told):
        run(**job)
    assert not platform.invoked
    assert list(run_folders(run.run_dir)) == []


def test_an_outer_optimizer_is_a_strategy_by_another_word(run):
    outer, _ = run(epochs=3, outer="nesterov:lr=1")
    strategy, _ = run(epochs=3, strategy="nesterov:lr=1")
    assert scores(outer) == scores(strategy)
    assert outer.settings["strategy"] == "nesterov:lr=1.0,momentum=0.9"


def test_updates_that_are_seen_one_by_one_are_averaged_in_one_action(run, platform):
    run(epochs=1, clients=9, strategy="median")
    collected = [a for _, a in platform.invoked if a["task"] == "collect" and a["updates"]]
    assert [len(arguments["updates"]) for arguments in collected] == [9]


OWN = """
from dataclasses import dataclass
from disdel.strategies import Advanced, FedAvg
from beside import times

@dataclass(frozen=True)
class Hurried(FedAvg):
    factor: float = 2.0

    def advance(self, block):
        return Advanced(times(block.change, self.factor) + block.before)
"""


@pytest.fixture
def own_file(tmp_path):
    (tmp_path / "beside.py").write_text("def times(a, b):\n    return a * b\n")
    (tmp_path / "mine.py").write_text(OWN)
    return tmp_path / "mine.py"


def test_a_class_in_a_file_of_the_users(run, own_file, arithmetic):
    strategy = f"{own_file}:Hurried:factor=3"
    report, folder = run(epochs=3, strategy=strategy)
    assert [entry.loss for entry in report.rounds] == [10 - 4.5, 10 - 9, 10 - 13.5]
    assert report.settings["strategy"] == f"{own_file}:Hurried:factor=3.0"
    assert sorted(path.name for path in folder.strategy.glob("*.py")) == ["beside.py", "mine.py"]


def test_a_run_goes_on_by_the_same_code_alone(run, own_file, arithmetic):
    broken = activation(1, "train", {"error": {"kind": "store", "message": "unreadable"}})
    arithmetic.hooks[0, 2] = lambda request: broken
    with pytest.raises(ActivationFailed):
        run(epochs=3, strategy=f"{own_file}:Hurried")
    arithmetic.hooks.clear()
    [folder] = run_folders(run.run_dir)
    own_file.write_text(OWN.replace("2.0", "5.0"))
    with pytest.raises(UsageError, match=r"mine\.py:Hurried has changed since run"):
        run(resumed=folder)
    own_file.write_text(OWN)
    report, _ = run(resumed=folder)
    assert [entry.loss for entry in report.rounds] == [7, 4, 1]
