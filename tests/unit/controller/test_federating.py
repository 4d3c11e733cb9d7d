"""Rounds of a federation on a platform of this process: late clients, denominators, failures."""

import asyncio
import time
from collections import Counter, defaultdict
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from disdel.controller.federating.federate import FederatedKind, federate
from disdel.controller.federating.told_labels import ToldLabels
from disdel.controller.runs.run_folder import run_folders
from disdel.controller.training import train as train_module
from disdel.controller.training.resuming import read_resumed
from disdel.errors import RoundFailed, UsageError
from disdel.models import built_in
from disdel.protocol import client_messages, messages
from disdel.runtimes.base import Trainer
from disdel.settings import Settings
from disdel.store.codec import read_tensors
from disdel.store.redis_store import RedisStore
from disdel.types import FederateJob, RateSchedule
from disdel.types.events import Noted, silent
from disdel.types.privacy import Privacy
from disdel.worker.client_turns import RoundState
from disdel.worker.clients import train_clients
from disdel.worker.combine import combine
from disdel.worker.context import Context
from disdel.worker.footprint import Footprint
from disdel.worker.own_data import OwnData
from disdel.worker.shards import Samples, ShardCache
from openwhisk_local.machine.container_memory import MemoryUse
from tests.support import deadlines, strategies
from tests.support.fake_platform import FakePlatform, sessions_of
from tests.support.waiting import wait_until

# Of each magnitude, and with digits that rounding would change.
FROZEN = (np.float32(10.0) ** np.arange(-40, 38, 6, dtype=np.float32)).astype(np.float32) / 3


class Counting(Trainer):
    """Adds 1 in each step."""

    framework = Footprint(anonymous_mb=230, mapped_mb=330)

    def __init__(self):
        self.w = np.zeros(1, np.float32)
        self.rest = FROZEN

    def import_framework(self, runtime):
        pass

    def get(self, network, samples):
        return self

    def state(self):
        return {"w": self.w.copy(), "frozen": self.rest.copy()}

    def load_state(self, tensors):
        self.w, self.rest = tensors["w"].copy(), tensors["frozen"].copy()

    def trained(self):
        return ("w",)

    def add_terms(self, terms):
        pass

    def train(self, x, y, micro_batches=1, rate_factors=None, seeds=None):
        self.w = self.w + np.float32(len(x))
        return float(y.size)

    def score(self, x, y):
        raise AssertionError("not asked for")

    def save_model(self, path):
        raise AssertionError("not asked for")


class Memory:
    def use(self):
        return MemoryUse(used_bytes=1, peak_bytes=1, limit_bytes=1 << 30, critical=False)


class InThread(Context):
    """Of a container that is a thread of the tests, whose memory says nothing of it."""

    def working_set_mb(self):
        return 100


class Containers:
    """Train actions whose workers may be late."""

    def __init__(self, store):
        self.store = store
        self.late = set()
        self.scored = []
        self.own_data = None

    def context(self):
        return InThread(self.store, time.time() + 300, Memory())

    def train(self, arguments):
        context = self.context()
        if arguments["task"] == "score":
            request = messages.from_json(messages.ScoreRequest, arguments)
            state = read_tensors(self.store, request.state_key)
            self.scored.append(state)
            weight = float(state["w"][0])
            if request.model_key is not None:
                self.store.put(request.model_key, b"a model file")
            reply = messages.ScoreReply(samples=1, loss_sum=weight, correct=1, peak_mb=1)
            return messages.to_json(reply)
        if arguments["task"] == "combine":
            request = messages.from_json(client_messages.CombineRequest, arguments)
            return messages.to_json(combine(request, context))
        if arguments["task"] == "collect":
            return messages.to_json(
                messages.CollectReply(updates=(), tensors=0, bytes=0, peak_mb=1)
            )
        request = messages.from_json(client_messages.TrainClientsRequest, arguments)
        if request.worker in self.late:
            # A run that fails removes its keys.
            told = lambda: self.store.fields(request.open_key)  # noqa: E731
            wait_until(lambda: not (said := told()) or said.get("closed") == str(request.round))
            return {"error": {"kind": "cancelled", "message": "the round is over"}}
        trainer = Counting()
        reply = train_clients(request, context, trainer, ShardCache(), RoundState(), self.own_data)
        return messages.to_json(reply)


@pytest.fixture
def containers(redis_url):
    store = RedisStore(redis_url)
    yield Containers(store)
    store.close()


@pytest.fixture
def platform(containers):
    containers.train_as = containers.train
    return FakePlatform(
        {
            "train": lambda arguments: containers.train_as(arguments),
            "collectWeights": containers.train,
        }
    )


@pytest.fixture
def run(platform, containers, redis_url, monkeypatch, tmp_path):
    opened = sessions_of(platform, containers.store, redis_url)
    monkeypatch.setattr(train_module, "open_session", opened)

    def start(emit=silent, resumed=None, **changes):
        if resumed is None:
            plain = {"clients": 8, "batch_size": 10, "rounds": 1, "containers": 2}
            job = FederateJob(dataset="digits", runtime="tensorflow", **{**plain, **changes})
        else:
            job = resumed.federation(**changes)
        settings = Settings(run_dir=tmp_path / "runs")
        return asyncio.run(federate(job, settings, emit, resumed=resumed))[0]

    return start


def test_all_take_their_steps_and_count_by_their_samples(run):
    # 179 or 180 samples each are 18 steps of 10.
    report = run(rounds=2)
    assert [entry.loss for entry in report.rounds] == [18, 36]
    assert {entry.steps for entry in report.ledger} == {18}
    assert (
        sorted(entry.weight for entry in report.ledger if entry.round == 1) == [179] * 2 + [180] * 6
    )


def test_clients_train_in_containers_of_their_own_memory(run):
    alike = run(rounds=2, clients_per_round=6)
    report = run(rounds=2, clients_per_round=6, client_memory_mb="700*6,900*2", containers=3)
    trained = [one for one in report.activations if one.task == "train"]
    of_workers = {one.worker: one.memory_mb for one in trained}
    of_clients = {entry.client: of_workers[entry.worker] for entry in report.ledger}
    assert of_clients == {c: 700 if c < 6 else 900 for c in of_clients}
    assert set(of_clients.values()) == {700, 900}
    assert [(e.client, e.weight, e.checksum) for e in report.ledger] == [
        (e.client, e.weight, e.checksum) for e in alike.ledger
    ]
    sizes = {one.memory_mb: len(one.workers) for one in report.plan.sizes}
    assert sizes == {700: 2, 900: 1}


def test_memory_by_client_is_for_one_platform():
    job = FederateJob(dataset="digits", clients=2, client_memory_mb="600,900")
    with pytest.raises(UsageError, match=r"--client-memory .* with --fabric .* memory_max"):
        FederatedKind(job).parts(None, None)


class EndpointsOf:
    """Endpoints that have so many clients each."""

    def __init__(self, *clients):
        self.clients = clients

    def homes(self, roster, has_data):
        assert has_data
        assert roster >= sum(self.clients)
        groups = [(frozenset({str(n)}), count) for n, count in enumerate(self.clients)]
        return SimpleNamespace(counts=lambda: groups)


@pytest.mark.parametrize(
    ("clients", "endpoints", "together"),
    [
        (1, None, None),
        (3, None, 3),
        (3, EndpointsOf(1, 1, 1), None),
        (3, EndpointsOf(1, 2), 2),
        (3, EndpointsOf(1, 1), None),
        (3, EndpointsOf(1), 2),
    ],
)
def test_data_of_clients_of_one_place_are_told_apart(tmp_path, clients, endpoints, together):
    file = tmp_path / "own.py"
    file.write_text("def load(split): raise AssertionError\n")
    job = FederateJob(dataset="digits", clients=clients, data=f"{file}:load")
    kind = FederatedKind(job)
    kind.dealt(job.as_training, None)
    if together is None:
        kind.check_places(endpoints)
        return
    with pytest.raises(UsageError, match=f"takes no client, so that {together} clients of one"):
        kind.check_places(endpoints)


def test_data_of_a_function_that_is_not_there_are_missed_before_a_platform_starts(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("def load(split): raise AssertionError\n")
    job = FederateJob(dataset="digits", clients=2, data=f"{file}:laod")
    with pytest.raises(UsageError, match="there is no laod in it; it has load"):
        FederatedKind(job).dealt(job.as_training, None)


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "fednova", "nesterov"])
def test_what_nobody_trains_stays_as_it_is_to_the_bit(run, containers, strategy):
    run(rounds=3, strategy=strategy, optimizer="sgd", local_epochs=1.0)
    assert len({state["w"].tobytes() for state in containers.scored}) == 3
    assert {state["frozen"].tobytes() for state in containers.scored} == {FROZEN.tobytes()}


def test_what_comes_after_the_deadline_is_dropped(run, containers, monkeypatch):
    containers.late = {1}
    deadlines.ends_at(monkeypatch, answered=3)
    report = run(deadline_s=deadlines.DEADLINE_S, min_clients=3, local_epochs="1*4,2*4")
    clients = report.rounds[0].clients
    answered = {entry.client for entry in report.ledger}
    assert clients.asked == 8
    assert clients.answered == len(answered) < 8
    assert {one.client for one in clients.dropped} == set(range(8)) - answered
    late = f"late: no answer within the {deadlines.DEADLINE_S} s of --deadline"
    assert {one.why for one in clients.dropped} == {late}
    weights = [entry.weight for entry in report.ledger]
    steps = [entry.steps for entry in report.ledger]
    assert report.rounds[0].loss == pytest.approx(np.average(steps, weights=weights), rel=1e-6)


def test_a_round_that_asks_more_ends_with_the_first(run, containers):
    containers.late = {1}
    told = []
    report = run(told.append, clients_per_round=4, over_select=2.5)
    notes = [event.message for event in told if isinstance(event, Noted)]
    assert "--over-select 2.5 would ask more than 8 clients a round: there are no more" in notes
    assert not [note for note in notes if "left out" in note]
    clients = report.rounds[0].clients
    assert (clients.asked, clients.answered) == (8, 4)
    assert {one.why for one in clients.dropped} == {"late: 4 clients had answered"}
    assert report.rounds[0].loss == 18


@pytest.mark.parametrize("deadline_s", [None, 300])
def test_who_is_quick_does_not_wait_where_a_round_may_end_before(run, containers, deadline_s):
    epochs = [9, 1, 5, 2, 7, 1, 3, 4]
    trained = defaultdict(list)
    train = containers.train

    def noting(arguments):
        if "turns" in arguments:
            request = messages.from_json(client_messages.TrainClientsRequest, arguments)
            trained[request.worker] += [epochs[turn.client] for turn in request.turns]
        return train(arguments)

    containers.train_as = noting
    run(deadline_s=deadline_s, local_epochs=epochs)
    assert len(trained) == 2
    for taken in trained.values():
        assert taken == sorted(taken, reverse=deadline_s is None)


def test_where_nobody_answers_in_time_the_round_fails_with_the_cause(run, containers):
    containers.late = {0, 1}
    with pytest.raises(RoundFailed, match="0 of 8 clients answered, and 8 must") as failed:
        run(deadline_s=1)
    who = "clients 0, 1, 2, 3, 4 and 3 others"
    assert f"{who}: late: no answer within the 1 s of --deadline" in str(failed.value)
    assert str(failed.value).endswith("Raise --deadline, in which the start of containers counts")


def test_a_federation_goes_on_with_the_runtime_that_was_chosen(run, tmp_path):
    run()
    [folder] = run_folders(tmp_path / "runs")
    resumed = read_resumed(folder)
    asked = replace(resumed.progress.federation, runtime="auto", precision=None)
    resumed = replace(resumed, progress=replace(resumed.progress, federation=asked))
    more = resumed.federation(rounds=2)
    assert (more.runtime, more.precision) == ("tensorflow", resumed.progress.precision)


def test_a_run_whose_budget_is_spent_is_refused_before_a_platform_is_up(run, monkeypatch, tmp_path):
    # The least noise for two rounds: a third one costs more.
    run(rounds=2, average="equal", privacy=Privacy(clip=1.0, epsilon=4.0, noise_seed=1))
    [folder] = run_folders(tmp_path / "runs")
    monkeypatch.setattr(train_module, "open_session", None)
    resumed = read_resumed(folder)
    told = r"is complete, and would end again at once: another round would cost ε = .* is 4\."
    with pytest.raises(UsageError, match=told):
        run(resumed=resumed, rounds=3)


def test_an_action_that_is_still_being_made_when_the_run_fails_is_removed_too(
    run, platform, monkeypatch
):
    made = []

    async def slowly(package, action):
        # Longer than the deadline of the round, and than everything between it and the removal.
        await asyncio.sleep(1.5)
        platform.actions[package, action.name] = action
        made.append(action.name)

    monkeypatch.setattr(platform, "create_action", slowly)
    with pytest.raises(RoundFailed, match="0 of 8 clients answered"):
        run(deadline_s=0.05)
    assert made
    assert (platform.packages, platform.actions) == ({}, {})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"strategy": "krum", "clients_per_round": 4}, "at least 5 updates a round, and there are"),
        ({"strategy": "trimmed-mean:beta=0.5"}, "leaves nothing of 8 updates: lower beta"),
        ({"strategy": "scaffold", "optimizer": "adam"}, "add --optimizer sgd"),
        (
            {"strategy": "fednova:mu=0.1", "rate_schedule": RateSchedule(shape="cosine")},
            "needs a constant learning rate",
        ),
        ({"clients": None, "local_epochs": "1,2"}, "has numbers for 2 clients, and there are 10"),
        (
            {"strategy": strategies.InTurn.name},
            r"of 8 clients, its participants\(\) leaves out some in round 1.* --select chooses",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_a_platform_is_up(
    run, monkeypatch, changes, told
):
    monkeypatch.setattr(train_module, "open_session", None)
    with pytest.raises(UsageError, match=told):
        run(**changes)


def test_balanced_clients_go_on_where_they_stopped_and_count_by_what_they_saw(run, containers):
    # Of the fake's clients, the first is slow by its own account.
    told = containers.train

    def train(arguments):
        reply = told(arguments)
        for result in reply.get("results", ()):
            result["train_s"] = result["steps_here"] * (4.0 if result["client"] == 0 else 1.0)
            result["turn_s"] = result["train_s"]
        return reply

    containers.train_as = train
    report = run(rounds=3, balance="epochs", local_epochs=2)
    steps = {number: steps_of(report, number) for number in (1, 2, 3)}
    assert set(steps[1].values()) == {36}
    assert steps[2][0] == 9
    assert {steps[2][client] for client in range(1, 8)} == {36}
    assert steps[3] == steps[2]
    weights = {e.client: e.weight for e in report.ledger if e.round == 2}
    assert weights[0] == 90


def steps_of(report, number):
    return {e.client: e.steps for e in report.ledger if e.round == number}


class Site(OwnData):
    """Three clients of 7, 25 and 40 samples, of whom client 1 may be without its disk."""

    sizes = (7, 25, 40)

    def __init__(self, broken=()):
        self.asked, self.broken = [], broken

    def get(self, client, count, model, split="train"):
        self.asked.append((client, count))
        if client in self.broken:
            raise UsageError(f"clients of client {client}: no disk")
        size = self.sizes[client]
        return Samples(np.zeros((size, 1), np.float32), np.full(size, client, np.int32))

    shares = False

    def labels(self, y, classes):
        return tuple(np.bincount(y, minlength=classes).tolist()) if self.shares else ()


@pytest.fixture
def site(containers, tmp_path):
    """Where clients load their own samples: the function's file, and what it finds."""
    made = containers.own_data = Site()

    def write(counts=""):
        path = tmp_path / "site.py"
        path.write_text(f"def clients(client):\n    raise OSError('not here')\n{counts}")
        return made, f"{path}:clients"

    return write


def ledger_of(report):
    return [(e.round, e.client, e.samples, e.steps, e.weight, e.checksum) for e in report.ledger]


def test_clients_that_say_how_many_they_have_when_they_are_asked_train_as_counted(run, site):
    of_three = {"rounds": 2, "local_epochs": 2, "clients": 3}
    _, entry = site("def counts():\n    return [7, 25, 40]\n")
    counted = run(data=entry, **of_three)
    told = []
    made, entry = site()
    made.asked.clear()
    report = run(told.append, data=entry, **of_three)
    assert ledger_of(report) == ledger_of(counted)
    assert [e.weight for e in report.ledger if e.round == 2] == [14, 50, 80]
    # Asked once, before their first round.
    once, twice = (
        dict.fromkeys(((c, None) for c in range(3)), 1),
        dict.fromkeys(enumerate(made.sizes), 2),
    )
    assert Counter(made.asked) == once | twice
    assert sorted({a.task for a in report.activations}) == ["collect", "count", "score", "train"]
    assert [split.use for split in report.splits] == ["shapes", "rounds and result"]
    assert any("as if it had 480" in e.message for e in told if isinstance(e, Noted))


def test_only_those_who_are_asked_are_counted_and_who_cannot_say_goes_without(run, site):
    made, entry = site()
    made.broken = (1,)
    report = run(data=entry, clients=3, clients_per_round=2, min_clients=1, rounds=3, seed=1)
    cohorts = [{e.client for e in report.ledger if e.round == number} for number in (1, 2, 3)]
    dropped = [{one.client: one.why for one in r.clients.dropped} for r in report.rounds]
    assert all(len(cohort) + len(away) == 2 for cohort, away in zip(cohorts, dropped, strict=True))
    assert {why for away in dropped for why in away.values()} == {"clients of client 1: no disk"}
    counted = [client for client, count in made.asked if count is None and client != 1]
    assert sorted(counted) == sorted(set.union(*cohorts))


@pytest.mark.parametrize("counts", ["", "def counts():\n    return [7, 25, 40]\n"])
def test_the_map_of_labels_has_what_clients_have_said(run, site, counts):
    made, entry = site(counts)
    asked = {
        "data": entry,
        "clients": 3,
        "clients_per_round": 2,
        "rounds": 1,
        "select": "round-robin",
    }
    assert run(**asked).label_map is None
    made.shares = True
    found = run(**asked).label_map
    assert found.partition == "as 2 of 3 clients have said"
    assert [(row.samples_most, row.shares.index(max(row.shares))) for row in found.rows] == [
        (7, 0),
        (25, 1),
        (0, 0),
    ]


IMAGES = built_in("cnn", input_shape=(8, 8, 1), classes=10)


@pytest.mark.parametrize(
    ("changes", "model"),
    [
        ({"data": None}, IMAGES),
        # What protects updates says nothing of labels.
        ({"average": "equal", "privacy": Privacy(clip=1.0, noise=1.0)}, IMAGES),
        ({"privacy": Privacy(secure_aggregation=True)}, IMAGES),
        ({}, built_in("cnn", input_shape=(8, 8, 1), classes=101)),
        ({"clients": 1_000_000}, built_in("cnn", input_shape=(8, 8, 1), classes=11)),
    ],
)
def test_labels_are_asked_for_where_they_are_clients_own_unprotected_and_few(changes, model):
    plain = {"dataset": "digits", "data": "site.py:clients", "clients": 8}
    assert ToldLabels(FederateJob(**plain), IMAGES).lacks(3)
    assert not ToldLabels(FederateJob(**{**plain, **changes}), model).lacks(3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"clients": None}, "how many clients are there\\? Add --clients N"),
        ({"select": "size"}, "--select size chooses by how many samples clients have"),
        ({"select": "power-of-choice"}, "--select power-of-choice chooses by how many"),
        ({"strategy": "fedbuff"}, "strategy fedbuff needs the largest weight of all clients"),
        ({"late": "weigh", "deadline_s": 1}, "--late weigh needs the largest weight of all"),
    ],
)
def test_what_must_know_all_clients_needs_their_counts(run, site, monkeypatch, changes, told):
    monkeypatch.setattr(train_module, "open_session", None)
    with pytest.raises(UsageError, match=told):
        run(**{"data": site()[1], "clients": 3, "clients_per_round": 2, **changes})
