"""Replies that no action of ours makes: they are lost activations, and disturb nobody."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from disdel.controller.federating.replies import odd_reply
from disdel.protocol import client_messages


def turn(client):
    return client_messages.ClientTurn(
        client=client,
        shard_key=f"s{client}",
        start_step=0,
        stop_step=3,
        batch_size=4,
        weight=1.0,
        rate_factor=1.0,
        samples=12,
    )


class Sent:
    network = SimpleNamespace(model=SimpleNamespace(targets=[SimpleNamespace(classes=3)]))
    turns = (turn(3), turn(5))
    until_s = None


def result(client, **changes):
    plain = client_messages.ClientResult(
        client=client, steps=3, samples=12, loss_sum=1.0, train_s=0.1
    )
    return replace(plain, **changes)


GOOD = client_messages.TrainClientsReply(
    outcome="ok", results=(result(3), result(5)), steps=6, train_s=0.2, peak_mb=50
)


def test_what_actions_answer_is_not_odd():
    assert odd_reply(Sent, GOOD) is None
    begun = replace(GOOD, outcome="continued-time", results=(result(3),))
    assert odd_reply(Sent, begun) is None
    assert odd_reply(Sent, replace(begun, results=(), steps=2)) is None
    labelled = (result(3, labels=(4, 0, 8)), result(5))
    assert odd_reply(Sent, replace(GOOD, results=labelled)) is None
    refused = result(5, refused="it diverged", loss_sum=math.nan, samples=0)
    assert odd_reply(Sent, replace(GOOD, results=(result(3), refused))) is None


def test_a_turn_without_steps_has_seen_no_samples():
    class Scored:
        turns = (replace(turn(3), stop_step=0, score_keys=("s3",)),)
        until_s = None

    reply = replace(GOOD, results=(result(3, steps=0, samples=0),), steps=0)
    assert odd_reply(Scored, reply) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"results": (result(4), result(5))}, "asked for clients 3, 5"),
        ({"results": (result(5), result(3))}, "asked for clients"),
        ({"results": (result(3), result(3))}, "asked for clients"),
        ({"results": (result(3), result(5), result(5))}, "asked for clients"),
        ({"results": (result(3), result(5, loss_sum=math.nan))}, "no number"),
        ({"results": (result(3), result(5, train_s=math.inf))}, "no number"),
        ({"results": (result(3), result(5, samples=-1))}, "cannot have seen -1"),
        ({"results": (result(3), result(5, samples=0))}, "cannot have seen 0"),
        ({"results": (result(3), result(5, labels=(1, 2)))}, "are of none of 3 classes"),
        ({"results": (result(3), result(5, labels=(1, 2, -1)))}, "are of none of 3 classes"),
        ({"results": (result(3),)}, "no time was up"),
        ({"results": ()}, "no time was up"),
        ({"outcome": "continued-time", "results": (), "steps": 0}, "has done nothing"),
        ({"train_s": math.nan}, "cannot have trained"),
        ({"train_s": -1.0}, "cannot have trained"),
    ],
)
def test_what_cannot_be_is_named(changes, told):
    assert told in odd_reply(Sent, replace(GOOD, **changes))
