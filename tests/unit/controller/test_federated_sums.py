"""Federations whose strategies want further sums, and noise that frozen layers get none of."""

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest

from disdel.controller.federating.federate import federate
from disdel.controller.planning import observing
from disdel.controller.runs.run_folder import run_folders
from disdel.controller.training import train as train_module
from disdel.controller.training.resuming import read_resumed
from disdel.errors import RoundFailed, StrategyFailed, TrainingDiverged, UsageError
from disdel.protocol import client_messages, messages
from disdel.protocol.keys import RunKeys
from disdel.settings import Settings
from disdel.store.redis_store import RedisStore
from disdel.strategies.registry import register
from disdel.strategies.scaffold import Scaffold
from disdel.types import FederateJob, Validation
from disdel.types.events import silent
from disdel.types.privacy import Privacy
from disdel.worker.client_turns import RoundState
from disdel.worker.clients import train_clients
from disdel.worker.shards import ShardCache
from tests.support.fake_platform import FakePlatform, activation, sessions_of
from tests.unit.controller.test_federating import FROZEN, Containers, Counting

RATE = 0.25
LOST = "The action did not produce a valid response and exited unexpectedly."


class Descending(Counting):
    """Takes steps of SGD whose gradient is 1, and what is added to it."""

    shift = np.float32(0)

    def frozen(self):
        return ("frozen",)

    def add_terms(self, terms):
        self.shift = np.float32(0) if terms is None else terms.shift.get("w", np.float32(0))

    def train(self, x, y, micro_batches=1, rate_factors=None, seeds=None):
        for _ in x:
            self.w = self.w - np.float32(RATE) * (1 + self.shift)
        return float(y.size)


class Sites(Containers):
    """Containers of these trainers, the first activations of some of which are lost."""

    def __init__(self, store):
        super().__init__(store)
        self.requests, self.joins, self.lost = [], [], set()

    def train(self, arguments):
        if arguments["task"] == "combine":
            self.joins.append(messages.from_json(client_messages.CombineRequest, arguments))
        if arguments["task"] != "clients":
            return super().train(arguments)
        request = messages.from_json(client_messages.TrainClientsRequest, arguments)
        self.requests.append(request)
        place = (request.round, request.worker)
        reply = train_clients(request, self.context(), Descending(), ShardCache(), RoundState())
        if place in self.lost:
            self.lost.remove(place)
            told = {"error": LOST}
            return activation(1, "train", told, status="action developer error")
        return messages.to_json(reply)


@pytest.fixture
def containers(redis_url):
    store = RedisStore(redis_url)
    yield Sites(store)
    store.close()


@pytest.fixture
def platform(containers):
    return FakePlatform({"train": containers.train, "collectWeights": containers.train})


@pytest.fixture
def run(platform, containers, redis_url, monkeypatch, tmp_path):
    opened = sessions_of(platform, containers.store, redis_url)
    monkeypatch.setattr(train_module, "open_session", opened)
    # These containers are threads, whose memory is that of all tests so far: no run learns of it.
    monkeypatch.setattr(observing, "remember", lambda *_: None)
    runs = []

    def start(resumed=None, **changes):
        plain = {"clients": 8, "batch_size": 10, "rounds": 3, "containers": 2, "optimizer": "sgd"}
        plain |= {"local_epochs": "1*4,2*4", "learning_rate": RATE}
        if resumed is None:
            runs.append(tmp_path / f"runs-{len(runs)}")
            job = FederateJob(dataset="digits", runtime="tensorflow", **{**plain, **changes})
        else:
            job = resumed.federation(**changes)
        settings = Settings(run_dir=runs[-1])
        containers.scored.clear()
        report, _ = asyncio.run(federate(job, settings, silent, resumed=resumed))
        # Each container scores a slice of the same state.
        return report, list(dict.fromkeys(state["w"].tobytes() for state in containers.scored))

    start.folder = lambda: next(iter(run_folders(runs[-1])))
    return start


def by_hand(report, clients=8):
    """The weight and the server's control variate after each round, by the ledger."""
    w, c, own, states = 0.0, 0.0, [0.0] * clients, []
    for number in range(1, len(report.rounds) + 1):
        lines = [line for line in report.ledger if line.round == number]
        gradients = {line.client: 1 + c - own[line.client] for line in lines}
        changes = [-RATE * line.steps * gradients[line.client] for line in lines]
        w += np.average(changes, weights=[line.weight for line in lines])
        kept = {client: own[client] - c + one for client, one in gradients.items()}
        c += sum(kept[client] - own[client] for client in kept) / clients
        for client, value in kept.items():
            own[client] = value
        states.append(w)
    return states


SOME = {"strategy": "scaffold", "clients_per_round": 5, "rounds": 4}


def test_scaffolds_sums_are_made_where_clients_train_and_no_update_leaves_by_itself(
    run, containers
):
    report, states = run(**SOME)
    found = [float(np.frombuffer(one, np.float32)[0]) for one in states]
    assert found == pytest.approx(by_hand(report), rel=1e-5)
    trained = [request for request in containers.requests if request.exponent is not None]
    assert {turn.update_key for request in trained for turn in request.turns} == {None}
    # As many sums as activations, whatever the cohort.
    assert [len(join.sum_keys) for join in containers.joins] == [2] * 4
    steps = {line.client: line.steps for line in report.ledger}
    assert {turn.sums["steps"] for request in trained for turn in request.turns} == {
        1 / (one * RATE) for one in steps.values()
    }
    assert all(line.checksum for line in report.ledger)


def test_scaffold_has_the_same_bits_in_any_containers_with_losses_and_after_a_resume(
    run, containers
):
    whole, states = run(**SOME)
    alone = run(**SOME, containers=1)
    containers.lost = {(1, 0), (2, 1), (3, 0)}
    lossy = run(**SOME, containers=3)
    assert not containers.lost
    run(**{**SOME, "rounds": 2})
    resumed, rest = run(resumed=read_resumed(run.folder()), rounds=4)
    assert alone[1] == lossy[1] == states
    assert rest == states[2:]
    made = [(e.round, e.client, e.steps, e.weight, e.checksum) for e in whole.ledger]
    for report in (alone[0], lossy[0], resumed):
        assert [(e.round, e.client, e.steps, e.weight, e.checksum) for e in report.ledger] == made


def test_nothing_of_a_run_with_further_sums_is_left(run, containers):
    run(**SOME)
    prefix = RunKeys(run.folder().run).prefix
    assert all(key.startswith(prefix) for join in containers.joins for key in join.sum_keys)
    # The server is that of all tests: threads of a run that has ended early may yet write.
    assert containers.store.delete_prefix(prefix) == 0


@register
@dataclass(frozen=True)
class Fickle(Scaffold):
    """Wants another sum of every other client."""

    name = "test-fickle"

    def sums(self, contribution):
        return {"steps" if contribution.client % 2 == 0 else "other": 1.0}


def test_sums_that_differ_by_client_are_refused_by_name(run):
    told = r"test-fickle wants the sums \['other'\] of client 1, and \['steps'\] of others"
    with pytest.raises(StrategyFailed, match=told):
        run(strategy="test-fickle")


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam"])
@pytest.mark.parametrize("side", ["server", "clients"])
def test_noise_leaves_frozen_layers_as_they_are_to_the_bit(run, containers, strategy, side):
    """Of eight clients one is expected: some rounds ask nobody, and are noise alone."""
    private = Privacy(clip=1.0, noise=1.0, noise_seed=3, side=side)
    asked = {"strategy": strategy, "privacy": private, "average": "equal"}
    by_chance = {"select": "poisson", "clients_per_round": 1, "containers": 1, "rounds": 6}
    if side == "clients":
        by_chance = {"rounds": 3}
    report, states = run(**asked, **by_chance)
    answered = [entry.clients.answered for entry in report.rounds]
    assert side == "clients" or 0 in answered
    assert len(states) == len(report.rounds)
    assert {state["frozen"].tobytes() for state in containers.scored} == {FROZEN.tobytes()}


def test_a_resumed_private_run_leaves_frozen_layers_and_has_the_same_bits(run, containers):
    private = Privacy(clip=1.0, noise=1.0, noise_seed=3)
    asked = {"privacy": private, "average": "equal", "select": "poisson", "clients_per_round": 3}
    _, states = run(**asked, rounds=4)
    run(**asked, rounds=2)
    _, rest = run(resumed=read_resumed(run.folder()), rounds=4)
    assert rest == states[2:]
    assert {state["frozen"].tobytes() for state in containers.scored} == {FROZEN.tobytes()}


def test_a_loss_that_is_no_number_may_come_of_the_noise(run, containers, platform):
    nan = {"error": {"kind": "diverged", "message": "the average of round 1 has a loss of nan"}}
    trained = platform.handlers["train"]
    platform.handlers["train"] = lambda asked: nan if asked["task"] == "score" else trained(asked)
    # Of eight clients: 9 · 1 / 8.
    told = r"or look at the noise, .* is 1.12 at first .* at the model: noise may make"
    with pytest.raises(TrainingDiverged, match=told):
        run(privacy=Privacy(clip=1.0, noise=9.0, noise_seed=3), average="equal")


def test_a_round_that_asks_nobody_says_so(run):
    asked = {"select": "poisson", "clients_per_round": 1, "containers": 1, "rounds": 9}
    with pytest.raises(UsageError, match=r"0 of 8 clients, drawn by .*: raise --clients-per-round"):
        run(**asked)
    # Which may end before.
    with pytest.raises(RoundFailed, match="failed: it asks nobody, and 1 must answer: by"):
        run(**asked, validation=Validation(patience=9))
