"""Federations that take updates as they come, on a platform of this process."""

import asyncio
import itertools
import math
import threading

import numpy as np
import pytest

from disdel.controller.federating import asynchronous
from disdel.controller.federating.buffer import Asked, Buffer, UnderWay
from disdel.controller.federating.cohort import Answered
from disdel.controller.federating.federate import federate
from disdel.controller.runs.run_folder import run_folders
from disdel.controller.training import train as train_module
from disdel.controller.training.resuming import read_resumed
from disdel.errors import DisdelError, RoundFailed, UsageError
from disdel.protocol import client_messages, messages
from disdel.settings import Settings
from disdel.store.redis_store import RedisStore
from disdel.types import FederateJob
from disdel.types.evaluating import Evaluating
from disdel.types.events import Noted, RoundDone
from disdel.worker.collect import collect
from tests.support.fake_platform import FakePlatform, activation, sessions_of
from tests.unit.controller.test_federating import Containers

LOST = "The action did not produce a valid response and exited unexpectedly."


def asked(client, number, *others):
    """What has come of one container's clients."""
    one = Asked(number, dict.fromkeys((client, *others)), 10)
    for each in one.turns:
        result = client_messages.ClientResult(
            client=each, steps=1, samples=1, loss_sum=1.0, train_s=0.1
        )
        one.answered[each] = Answered(result, 0, 0, 1.0, None, 0)
    return one


def clients(taken):
    return [client for one in taken for client, _ in one.answers]


def test_a_buffer_takes_the_first_to_come_whoever_of_these_was_first():
    for order in itertools.permutations([asked(3, 1), asked(1, 2), asked(2, 1)]):
        buffer = Buffer(3, waiting=[*order])
        late = asked(0, 2)
        assert Buffer(4, waiting=[*order]).take(2) is None
        buffer.waiting.append(late)
        assert clients(buffer.take(2)) == [1, 2, 3]
        assert buffer.waiting == [late]
        assert buffer.take(3) is None


def test_who_is_too_late_is_refused_by_name_and_may_come_again():
    buffer = Buffer(1, max_staleness=2, waiting=[asked(7, 1)])
    buffer.waiting[0].spent.append("a key")
    assert buffer.take(4) is None
    assert buffer.dropped == {7: "too late: it began 3 versions ago, and max_staleness is 2"}
    assert buffer.spent == ["a key"]
    buffer.waiting.append(asked(7, 4))
    assert clients(buffer.take(4)) == [7]
    assert clients(Buffer(1, 2, [asked(7, 2)]).take(4)) == [7]


def test_what_a_container_has_added_up_is_not_taken_apart():
    # The second lacks a client, so that another one with one makes up for it.
    buffer = Buffer(4, waiting=[asked(5, 1, 2), asked(7, 1)])
    assert buffer.take(1) is None
    buffer.waiting += [asked(1, 1, 6)]
    assert clients(buffer.take(1)) == [1, 6, 2, 5]
    buffer.waiting += [asked(8, 1, 9), asked(3, 1)]
    assert clients(buffer.take(1)) == [3, 7, 8, 9]
    assert buffer.waiting == []


def test_where_clients_are_lost_again_and_again_a_version_has_some_too_many():
    buffer = Buffer(3, waiting=[asked(1, 1, 2), asked(3, 1, 4)])
    assert not buffer.is_full
    buffer.waiting.append(asked(5, 1, 6))
    assert clients(buffer.take(1)) == [1, 2, 3, 4]
    assert clients(buffer.waiting) == [5, 6]


def test_a_buffer_is_full_once_enough_of_those_under_way_are_through():
    def hand(*clients, takes):
        return UnderWay(clients, 0.0, takes)

    buffer = Buffer(4, waiting=[asked(5, 1)])
    assert buffer.full_s([hand(1, takes=3)], 1.0) == math.inf
    assert buffer.full_s([hand(1, takes=9), hand(2, 3, takes=5), hand(4, takes=2)], 1.0) == 4
    # Who should be through already may need as long again.
    assert buffer.full_s([hand(1, 2, 3, takes=2)], 10.0) == 10


class Stragglers(Containers):
    """Some clients wait until others are through."""

    def __init__(self, store):
        super().__init__(store)
        self.lock = threading.Lock()
        self.before = lambda request: None
        self.requests = []

    def train(self, arguments):
        if arguments["task"] == "clients":
            request = messages.from_json(client_messages.TrainClientsRequest, arguments)
            with self.lock:
                self.requests.append(request)
            if (instead := self.before(request)) is not None:
                return instead
        if arguments["task"] == "collect" and arguments["updates"]:
            request = messages.from_json(messages.CollectRequest, arguments)
            return messages.to_json(collect(request, self.context()))
        return super().train(arguments)


@pytest.fixture
def containers(redis_url):
    store = RedisStore(redis_url)
    yield Stragglers(store)
    store.close()


@pytest.fixture
def run(containers, redis_url, monkeypatch, tmp_path):
    # Every client has an activation of its own, however quick it is.
    monkeypatch.setattr(asynchronous, "_HAND_S", 0.0)
    platform = FakePlatform({"train": containers.train, "collectWeights": containers.train})
    opened = sessions_of(platform, containers.store, redis_url)
    monkeypatch.setattr(train_module, "open_session", opened)
    settings = Settings(run_dir=tmp_path / "runs")
    events = []

    def start(resumed=None, **changes):
        plain = {"clients": 8, "batch_size": 10, "rounds": 4, "containers": 2}
        job = FederateJob(
            dataset="digits",
            runtime="tensorflow",
            **{"strategy": "fedbuff:buffer=4,shrinks=yes", "average": "equal", **plain, **changes},
        )
        return asyncio.run(federate(job, settings, events.append, resumed=resumed))

    start.settings, start.events = settings, events
    return start


def expected(report, *, lr=1.0, power=0.5):
    """The states by the ledger alone: a client adds 18 to whatever it has begun with."""
    state, states = 0.0, []
    for number in range(1, len(report.rounds) + 1):
        lines = [line for line in report.ledger if line.round == number]
        state += lr * sum(18 * (1 + line.staleness) ** -power for line in lines) / len(lines)
        states.append(state)
    return states


def test_each_version_is_of_a_full_buffer_with_the_weights_of_its_ledger(run, containers):
    # The second container's first client is there when two versions have been made without it.
    published = threading.Event()

    def slowly(request):
        if request.round == 1 and request.worker == 1:
            published.wait(30)
        if request.round >= 3:
            published.set()

    containers.before = slowly
    report, folder = run()
    for number in range(1, 5):
        lines = [line for line in report.ledger if line.round == number]
        assert len(lines) == 4
        assert report.rounds[number - 1].clients.answered == 4
    assert max(line.staleness for line in report.ledger) >= 2
    for line in report.ledger:
        assert line.weight == pytest.approx((1 + line.staleness) ** -0.5)
    assert [one.loss for one in report.rounds] == pytest.approx(expected(report), rel=1e-6)
    # Whoever trains keeps the state that it has begun with; after the run nothing is left.
    assert containers.store.delete_prefix(f"disdel:{folder.run}:") == 0
    places = [(r.round, r.worker, r.segment, r.attempt) for r in containers.requests]
    assert len(set(places)) == len(places)


def test_quick_clients_share_an_activation_and_a_version_has_as_many_as_asked_for(
    run, containers, monkeypatch
):
    monkeypatch.setattr(asynchronous, "_HAND_S", 60.0)
    report, _ = run(rounds=8, strategy="fedbuff:buffer=4,power=1,shrinks=yes")
    assert {len(request.turns) for request in containers.requests} == {1, 2}
    for number in range(1, 9):
        lines = [line for line in report.ledger if line.round == number]
        assert len(lines) == report.rounds[number - 1].clients.answered == 4
    assert [one.loss for one in report.rounds] == pytest.approx(expected(report, power=1), rel=1e-6)


def test_whoever_is_there_is_asked_by_versions(run, containers, tmp_path):
    # Fewer than are drawn at a time; from version 3 on, fewer than there are containers.
    path = tmp_path / "trace.csv"
    path.write_text("client,first_round,last_round\n0,1,2\n1,1,2\n5,1,2\n2,3,\n")
    report, _ = run(available=str(path), strategy="fedbuff:buffer=2", rounds=5)
    began = {}
    for request in containers.requests:
        for turn in request.turns:
            began.setdefault(request.round, set()).add(turn.client)
    assert set().union(*(began.get(number, set()) for number in (1, 2))) <= {0, 1, 5}
    assert began.get(4, set()) | began.get(5, set()) == {2}
    assert len(report.rounds) == 5


@pytest.mark.parametrize(("decay", "power"), [("constant", 0.0), ("polynomial", 0.5)])
def test_fedasync_mixes_states_as_they_come(run, decay, power):
    report, _ = run(strategy=f"fedasync:alpha=0.5,decay={decay}", rounds=6)
    states = [0.0]
    for line in report.ledger:
        update = states[line.round - 1 - line.staleness] + 18
        share = 0.5 * (1 + line.staleness) ** -power
        states.append(states[-1] + share * (update - states[-1]))
        assert line.weight == pytest.approx(share)
    assert [line.round for line in report.ledger] == [1, 2, 3, 4, 5, 6]
    assert [one.loss for one in report.rounds] == pytest.approx(states[1:], rel=1e-6)


def test_a_clients_turns_follow_one_another(run, containers):
    run(rounds=6)
    starts = {}
    for request in containers.requests:
        [turn] = request.turns
        starts.setdefault(turn.client, []).append(turn.start_step)
    for begun in starts.values():
        assert sorted(begun) == [18 * index for index in range(len(begun))]
    # All are asked once before anybody is asked again.
    first = [request.turns[0].client for request in containers.requests[:8]]
    assert sorted(first) == list(range(8))


def test_a_lost_container_is_asked_again_and_nothing_counts_twice(run, containers):
    lost = []

    def kill(request):
        if request.attempt == 0 and len(lost) < 5 and request.turns[0].client % 2:
            lost.append(request)
            return activation(78, "train", {"error": LOST}, status="action developer error")
        return None

    containers.before = kill
    report, _ = run()
    assert lost
    assert any(line.attempt for line in report.ledger)
    assert [one.loss for one in report.rounds] == pytest.approx(expected(report), rel=1e-6)


def test_a_client_that_is_always_lost_goes_without_and_is_named(run, containers):
    def kill(request):
        if request.turns[0].client == 3:
            return activation(78, "train", {"error": LOST}, status="action developer error")
        return None

    containers.before = kill
    report, _ = run()
    assert any(
        e.message.startswith("client 3 is left out of round ")
        for e in run.events
        if isinstance(e, Noted)
    )
    assert 3 not in {line.client for line in report.ledger}
    dropped = [one.client for done in report.rounds for one in done.clients.dropped]
    assert set(dropped) == {3}
    assert [one.loss for one in report.rounds] == pytest.approx(expected(report), rel=1e-6)


def test_where_all_are_lost_the_run_ends_and_names_them(run, containers):
    containers.before = lambda _: activation(
        78, "train", {"error": LOST}, status="action developer error"
    )
    with pytest.raises(RoundFailed, match=r"clients were asked one after the other.*client \d: "):
        run()


def test_stale_updates_beyond_the_bound_are_refused(run, containers):
    published = threading.Event()

    def slowly(request):
        if request.round == 1 and request.worker == 1:
            published.wait(30)
        if request.round >= 3:
            published.set()

    containers.before = slowly
    report, _ = run(strategy="fedbuff:buffer=4,max_staleness=1,shrinks=yes", rounds=6)
    assert max(line.staleness for line in report.ledger) <= 1
    dropped = [one for done in report.rounds for one in done.clients.dropped]
    assert dropped
    assert all("max_staleness is 1" in one.why for one in dropped)
    assert [one.loss for one in report.rounds] == pytest.approx(expected(report), rel=1e-6)


def test_a_run_goes_on_from_its_last_version(run, containers):
    def fail(request):
        if any(isinstance(event, RoundDone) for event in run.events):
            return {"error": {"kind": "store", "message": "the state cannot be read"}}
        return None

    containers.before = fail
    with pytest.raises(DisdelError):
        run(rounds=8)
    [folder] = run_folders(run.settings.run_dir)
    containers.before = lambda _: None
    seen = len(containers.requests)
    report, _ = run(resumed=read_resumed(folder), rounds=8)
    done = report.resumed_after
    assert done >= 1
    assert len(report.rounds) == 8
    assert [one.loss for one in report.rounds] == pytest.approx(expected(report), rel=1e-6)
    # What the last controller had begun is asked for again, behind what had counted.
    counted = [line.client for line in report.ledger if line.round <= done]
    for request in containers.requests[seen : seen + 2]:
        [turn] = request.turns
        assert turn.start_step == 18 * counted.count(turn.client)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"deadline_s": 3}, "--deadline is for rounds that wait"),
        ({"over_select": 2, "clients_per_round": 4}, "--over-select is for rounds that wait"),
        ({"min_clients": 3}, "--min-clients is for rounds that wait"),
        ({"select": "poisson", "clients_per_round": 4}, "--select poisson is for rounds"),
        ({"evaluating": Evaluating(clients=2)}, "--evaluate-clients 2 is for rounds"),
    ],
)
def test_what_is_for_rounds_that_wait_is_refused(run, containers, changes, told):
    with pytest.raises(UsageError, match=told):
        run(**changes)
    assert not containers.requests


def test_weights_by_samples_and_more_local_work(run):
    report, _ = run(strategy="fedbuff:buffer=4", average="samples", local_epochs="1*4,2*4")
    assert {line.steps for line in report.ledger} == {18, 36}
    state = 0.0
    for number, done in enumerate(report.rounds, 1):
        lines = [line for line in report.ledger if line.round == number]
        left = [line.samples * (1 + line.staleness) ** -0.5 for line in lines]
        state += np.average([line.steps for line in lines], weights=left)
        assert done.loss == pytest.approx(state, rel=1e-6)
