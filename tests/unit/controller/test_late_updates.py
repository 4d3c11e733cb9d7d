"""Rounds that end before all have answered, whose late updates go into later ones."""

import asyncio
import threading

import numpy as np
import pytest

from disdel.controller.federating.federate import federate
from disdel.controller.runs.run_folder import run_folders
from disdel.controller.training import train as train_module
from disdel.controller.training.resuming import read_resumed
from disdel.errors import DisdelError, UsageError
from disdel.settings import Settings
from disdel.store.redis_store import RedisStore
from disdel.types import FederateJob
from disdel.types.events import Noted
from tests.support import deadlines
from tests.support.fake_platform import FakePlatform, activation, sessions_of
from tests.unit.controller.test_asynchronous import Stragglers

LOST = "The action did not produce a valid response and exited unexpectedly."


class Held:
    """Holds the first activation of a container of a round until a later round has begun."""

    def __init__(self, *, until, rounds=(1,), worker=1):
        self.until = until
        self.rounds = rounds
        self.worker = worker
        self.begun = threading.Event()
        self.requests = []

    def __call__(self, request):
        if request.round >= self.until:
            self.begun.set()
        if request.round in self.rounds and request.worker == self.worker:
            self.requests.append(request)
            self.begun.wait(30)


@pytest.fixture
def containers(redis_url):
    store = RedisStore(redis_url)
    yield Stragglers(store)
    store.close()


@pytest.fixture
def run(containers, redis_url, monkeypatch, tmp_path):
    platform = FakePlatform({"train": containers.train, "collectWeights": containers.train})
    opened = sessions_of(platform, containers.store, redis_url)
    monkeypatch.setattr(train_module, "open_session", opened)
    settings = Settings(run_dir=tmp_path / "runs")
    events = []

    def start(resumed=None, **changes):
        plain = {"clients": 8, "batch_size": 10, "rounds": 4, "containers": 2, "late": "weigh"}
        plain |= {"clients_per_round": 4, "over_select": 2.0, "local_epochs": "1*4,2*4"}
        job = FederateJob(dataset="digits", runtime="tensorflow", **{**plain, **changes})
        return asyncio.run(federate(job, settings, events.append, resumed=resumed))

    start.settings, start.events, start.platform = settings, events, platform
    return start


def expected(report, *, power=0.5):
    """The states by the ledger alone: a client adds as much as it takes steps, 18 an epoch."""
    state, states = 0.0, []
    for number in range(1, len(report.rounds) + 1):
        lines = [line for line in report.ledger if line.round == number]
        assert {line.steps for line in lines} <= {18, 36}
        weights = [line.samples * (1 + line.staleness) ** -power for line in lines]
        assert [line.weight for line in lines] == pytest.approx(weights)
        state += np.average([line.steps for line in lines], weights=weights)
        states.append(state)
    return states


def losses(report):
    return [done.loss for done in report.rounds]


def stale(report):
    return [line for line in report.ledger if line.staleness]


@pytest.mark.parametrize("power", [0.5, 0.0, 2.0])
def test_what_comes_late_is_in_a_later_average_by_what_is_left_of_its_weight(
    run, containers, power
):
    containers.before = held = Held(until=3)
    report, folder = run(late=f"weigh:power={power}")
    [late] = held.requests
    [client] = [turn.client for turn in late.turns]
    # It had begun with what nobody had trained yet.
    [line] = [one for one in stale(report) if one.client == client and one.round > 2]
    assert line.worker == 1
    assert line.round - line.staleness == 1
    assert losses(report) == pytest.approx(expected(report, power=power), rel=1e-6)
    why = {one.client: one.why for one in report.rounds[0].clients.dropped}
    assert why[client] == "late: 4 clients had answered; it goes on, for a later round"
    assert {w for c, w in why.items() if c != client} <= {
        why[client],
        "late: 4 clients had answered, nor had it begun",
    }
    # Meanwhile nobody asks it again, and nothing counts twice.
    why = {one.client: one.why for one in report.rounds[1].clients.dropped}
    assert why[client] == "it still trains for round 1"
    counted = [(one.client, one.round - one.staleness) for one in report.ledger]
    assert len(set(counted)) == len(counted)
    for number, done in enumerate(report.rounds, 1):
        lines = [one for one in report.ledger if one.round == number]
        assert done.clients.late == len([one for one in lines if one.staleness])
        assert done.clients.answered == len(lines) - done.clients.late >= 4
    assert containers.store.delete_prefix(f"disdel:{folder.run}:") == 0
    # Its activation is in the report, and no round's seconds are of another one's.
    assert [one for one in report.activations if (one.round, one.worker) == (1, 1)]
    for done in report.rounds:
        assert done.times.training_s <= done.wall_s


def test_an_adaptive_server_takes_late_changes_too(run, containers):
    containers.before = Held(until=3)
    report, _ = run(strategy="fedavgm:momentum=0.5,lr=1")
    changes = np.diff([0.0, *expected(report)])
    state, velocity, states = 0.0, 0.0, []
    for change in changes:
        velocity = 0.5 * velocity + change
        state += velocity
        states.append(state)
    assert stale(report)
    assert losses(report) == pytest.approx(states, rel=1e-6)


def test_after_the_deadline_a_container_may_finish(run, containers, monkeypatch):
    containers.before = held = Held(until=2)
    deadlines.ends_at(monkeypatch, answered=4)
    report, _ = run(
        over_select=1.0,
        deadline_s=deadlines.DEADLINE_S,
        clients_per_round=None,
        min_clients=1,
        rounds=3,
    )
    [client] = [turn.client for turn in held.requests[0].turns]
    why = {one.client: one.why for one in report.rounds[0].clients.dropped}
    late = f"late: no answer within the {deadlines.DEADLINE_S} s of --deadline"
    assert why.pop(client) == f"{late}; it goes on, for a later round"
    assert set(why.values()) == {f"{late}, nor had it begun"}
    assert client in {one.client for one in stale(report)}
    assert losses(report) == pytest.approx(expected(report), rel=1e-6)


def test_what_is_too_late_is_dropped_by_name(run, containers):
    containers.before = held = Held(until=4)
    report, _ = run(late="weigh:max_staleness=1", rounds=6)
    [client] = [turn.client for turn in held.requests[0].turns]
    assert max(line.staleness for line in report.ledger) <= 1
    told = [one for done in report.rounds for one in done.clients.dropped if one.client == client]
    assert any(
        one.why.startswith("too late: it began ") and one.why.endswith("max_staleness is 1")
        for one in told
    )
    [note] = [
        event.message
        for event in run.events
        if isinstance(event, Noted) and event.message.startswith(f"client {client} is left out")
    ]
    assert "too late: it began" in note
    assert losses(report) == pytest.approx(expected(report), rel=1e-6)


def test_a_late_container_that_is_lost_is_invoked_again(run, containers):
    held, lost = Held(until=3), []

    def kill(request):
        held(request)
        if request in held.requests and not request.attempt:
            lost.append(request)
            return activation(78, "train", {"error": LOST}, status="action developer error")
        return None

    containers.before = kill
    report, _ = run(rounds=6)
    [client] = [turn.client for turn in lost[0].turns]
    [line] = [one for one in stale(report) if one.client == client and one.attempt]
    assert line.round - line.staleness == 1
    assert losses(report) == pytest.approx(expected(report), rel=1e-6)


def test_a_late_client_that_fails_is_told_with_its_round(run, containers):
    held = Held(until=3)

    def kill(request):
        held(request)
        if request.round == 1 and request.worker == 1:
            return activation(78, "train", {"error": LOST}, status="action developer error")
        return None

    containers.before = kill
    report, _ = run(rounds=6)
    [client] = [turn.client for turn in held.requests[0].turns]
    told = [
        one.why
        for done in report.rounds[1:]
        for one in done.clients.dropped
        if one.client == client
    ]
    assert [why for why in told if why.startswith("asked in round 1: ")]
    assert losses(report) == pytest.approx(expected(report), rel=1e-6)


def test_where_all_containers_are_late_the_next_round_waits_for_one(run, containers):
    began = []

    def slowly(request):
        began.append(request)
        # Of the second piece: the first one is enough for a round.
        if request.segment == 1 and request.round == 1:
            threading.Event().wait(0.2)

    containers.before = slowly
    report, _ = run(containers=1, clients_per_round=2, over_select=4.0, rounds=3)
    assert losses(report) == pytest.approx(expected(report), rel=1e-6)
    # One container never has two activations at once, and all of what it trained has counted.
    assert [request.round for request in began] == sorted(request.round for request in began)
    assert stale(report)


def test_at_the_end_nobody_is_waited_for(run, containers):
    closed = []

    def until_closed(request):
        if request.round == 1 and request.worker == 1:
            while containers.store.get_field(request.open_key, "closed") is None:
                pass
            closed.append(request)
            return {"error": {"kind": "cancelled", "message": "the round is over"}}
        return None

    containers.before = until_closed
    report, folder = run(rounds=3)
    assert len(report.rounds) == 3
    assert closed
    assert losses(report) == pytest.approx(expected(report), rel=1e-6)
    assert containers.store.delete_prefix(f"disdel:{folder.run}:") == 0


def test_a_resumed_run_goes_on_without_what_was_under_way(run, containers):
    held = Held(until=3)

    def fail(request):
        if request.round == 2 and request.worker == 0:
            held.begun.set()
            return {"error": {"kind": "store", "message": "the state cannot be read"}}
        return held(request)

    containers.before = fail
    with pytest.raises(DisdelError):
        run()
    [folder] = run_folders(run.settings.run_dir)
    [client] = [turn.client for turn in held.requests[0].turns]
    containers.before = lambda _: None
    report, _ = run(resumed=read_resumed(folder))
    assert report.resumed_after == 1
    assert len(report.rounds) == 4
    assert not [o for o in stale(report) if o.client == client and o.round - o.staleness == 1]
    assert losses(report) == pytest.approx(expected(report), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"strategy": "median"}, "strategy median compares the updates of a round, and --late"),
        (
            {"strategy": "fednova"},
            "strategy fednova makes its step of what all updates of a round weigh",
        ),
        ({"strategy": "scaffold"}, "strategy scaffold has its clients keep something"),
        ({"strategy": "fedbuff", "over_select": 1.0, "deadline_s": 3}, "--deadline is for rounds"),
    ],
)
def test_strategies_with_whose_rounds_it_does_not_go_are_refused(run, containers, changes, told):
    with pytest.raises(UsageError, match=told):
        run(**changes)
    assert not containers.requests
