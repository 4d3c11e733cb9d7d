"""A platform whose requests are cut, delayed and answered by others: the same weights, exit 0."""

import itertools

import pytest
import redis

from disdel.errors import PlatformLost
from disdel.platforms.openwhisk import client as openwhisk
from disdel.types.events import ActivationEnded, Noted, RoundDone
from tests.support.fault_proxies import (
    CUT_AFTER,
    CUT_BEFORE,
    CUT_IN_REPLY,
    delayed,
    going_away_twice,
    http_reply,
)
from tests.support.linear import outcome

KINDS = [
    "GET /api/v1/namespaces",
    "GET /",
    "PUT packages",
    "PUT actions",
    "POST actions",
    "GET activations",
    "GET actions",
    "DELETE actions",
    "DELETE packages",
]
# An answer that got in between, though the request arrived.
PAGE = http_reply(200, reaches=True)
# Answers after which the next one is another, some of which have arrived.
ANSWERS = [
    delayed(0.3),
    http_reply(500, b'{"error":"There was an internal server error.","code":"x"}'),
    http_reply(503, reaches=True),
    http_reply(502, headers="retry-after: 0\r\n"),
    http_reply(429, b"slow down", "retry-after: 1\r\n"),
]


def notes(events):
    return [event.message for event in events if isinstance(event, Noted)]


def once_of_every_kind(train, api, faults):
    """A training in which a request of every kind meets one of the faults."""
    for kind, fault in zip(KINDS, faults, strict=False):
        api.on(kind, fault)
    report, folder = train()
    assert {kind for kind, _ in api.struck} == set(KINDS)
    assert report.totals.failed == 0
    assert folder.model.is_file()
    return report


@pytest.mark.parametrize("fault", [CUT_BEFORE, CUT_AFTER, CUT_IN_REPLY], ids=repr)
def test_cut_requests_change_nothing(train, api, fault, whole):
    report = once_of_every_kind(train, api, itertools.repeat(fault))
    assert outcome(report) == whole


@pytest.mark.parametrize("shift", range(2))
def test_answers_of_others_change_nothing(train, api, shift, whole):
    shifted = itertools.islice(itertools.cycle(ANSWERS), 2 * shift, None)
    assert outcome(once_of_every_kind(train, api, shifted)) == whole


@pytest.mark.parametrize("fault", [CUT_AFTER, CUT_IN_REPLY, PAGE], ids=repr)
def test_an_invocation_whose_answer_is_lost_is_found_and_not_sent_again(train, api, fault, whole):
    api.on("POST actions", *[fault] * 5)
    report, _ = train()
    assert outcome(report) == whole
    assert api.seen.count("POST actions") == len(report.activations)
    assert report.totals.failed == 0


def test_an_invocation_that_arrives_twice_is_done_once(train, api, whole, monkeypatch):
    """Nobody looks for it, so it is sent again; the second activation finds the first's claim."""

    async def looks_nowhere(begun):
        return None

    monkeypatch.setattr(openwhisk, "_look_for", looks_nowhere)
    api.on("POST actions", *[CUT_AFTER] * 5)
    report, _ = train()
    assert outcome(report) == whole
    assert report.totals.failed == 0


def test_a_record_that_never_comes_is_a_lost_activation(train, api, whole, monkeypatch):
    monkeypatch.setattr(openwhisk, "_RECORD_S", 0.5)
    monkeypatch.setattr(openwhisk, "_TELL_AFTER_S", 0.0)
    api.on("POST actions", CUT_AFTER)
    missing = http_reply(404, b'{"error":"The requested resource does not exist.","code":"x"}')

    def until_it_is_lost(event):
        train.events.append(event)
        if isinstance(event, ActivationEnded) and event.activation.outcome == "error":
            api.always("GET activations", None)

    api.always("GET activations", missing)
    report, _ = train(until_it_is_lost)
    assert outcome(report)[0] == whole[0]
    assert (report.totals.failed, report.totals.restarted) == (1, 1)
    assert any("got lost; its record is waited for" in note for note in notes(train.events))


def test_a_platform_that_is_away_is_waited_for(train, api, whole):
    report, _ = train(going_away_twice(api, train.events))
    assert outcome(report) == whole
    told = notes(train.events)
    assert [note for note in told if "trying again for up to 60 s" in note]
    assert [note for note in told if "answers again, after" in note]


def test_a_run_is_not_lost_over_logs_and_cleaning(train, api, servers, whole):
    """The platform refuses both; the store is cleaned all the same."""
    wrong = http_reply(400, b'{"error":"no","code":"x"}')
    api.always("GET activations", wrong)
    api.always("DELETE actions", wrong)
    report, folder = train(patience_network_s=1)
    assert outcome(report) == whole
    told = notes(train.events)
    assert any("no log of activation" in note for note in told)
    assert any(f"Later: disdel stop {folder.run}" in note for note in told)
    with redis.Redis.from_url(servers[1]) as client:
        assert not client.keys(f"disdel:{folder.run}*")


def test_a_platform_that_stays_away_ends_the_run_with_what_to_do(train, api, servers, tmp_path):
    def go_away(event):
        if isinstance(event, RoundDone):
            api.away()

    with pytest.raises(PlatformLost) as lost:
        train(go_away, patience_network_s=1.5)
    [folder] = (tmp_path / "runs").iterdir()
    command = f"disdel train --resume {folder.name} --run-dir {folder.parent}"
    assert f"{command} continues it after" in str(lost.value)
    assert lost.value.exit_code == 1
    with redis.Redis.from_url(servers[1]) as client:
        assert not client.keys(f"disdel:{folder.name}*")
