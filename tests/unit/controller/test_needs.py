"""What an activation may do with the store is read off its request, whole and no more."""

from dataclasses import fields, is_dataclass
from typing import get_args, get_type_hints

import pytest

from disdel.controller.invoking import needs
from disdel.controller.invoking.needs import needs_of
from disdel.protocol import client_messages, flower, messages
from disdel.protocol.keys import RunKeys

KEYS = RunKeys("run:turn")
MODULES = (messages, client_messages, flower)
# Fields with keys that activations only read, wherever they stand.
READ = {
    *("shard_key", "anchor_key", "correction_key", "own_key", "before_key", "kept_key"),
    *("optimizer_key", "score_keys", "advert_keys", "share_keys", "reveal_keys", "sum_keys"),
    *("input_key", "key", "content_key", "context_key"),
}
# Read in one message and written in another.
EITHER = {"state_key", "model_key"}
# No key of the store: of noise.
OTHER = {(client_messages.AddedNoise, "key")}


def messages_in(kind, seen):
    """A message and all those within it."""
    if (
        not (is_dataclass(kind) and kind.__module__ in {module.__name__ for module in MODULES})
        or kind in seen
    ):
        return
    seen.add(kind)
    for hint in get_type_hints(kind).values():
        for part in (hint, *get_args(hint), *(a for h in get_args(hint) for a in get_args(h))):
            messages_in(part, seen)


def key_fields():
    seen = set()
    for module in MODULES:
        for name, kind in vars(module).items():
            if name.endswith("Request"):
                messages_in(kind, seen)
    return {
        (kind, field.name)
        for kind in seen
        for field in fields(kind)
        if field.name == "key" or field.name.endswith(("_key", "_keys"))
    } - OTHER


def test_every_field_that_is_a_key_has_its_place():
    placed = READ | EITHER | needs.WRITTEN | needs.HASHES
    assert {name for _, name in key_fields()} == placed
    written = needs.WRITTEN_IN | needs.CREATED_IN
    assert {place for place in key_fields() if place[1] in EITHER} == written | {
        (messages.ScoreRequest, "state_key"),
        (messages.EvaluateRequest, "model_key"),
        (client_messages.Begun, "state_key"),
    }


def score(**changes):
    return messages.ScoreRequest(
        network=None,
        worker=3,
        round=1,
        batch_size=8,
        shard_key=KEYS.shard("test", "0"),
        state_key=KEYS.state(1),
        progress_key=KEYS.progress,
        **{"model_key": None, **changes},
    )


def test_a_score_reads_and_with_a_model_writes():
    asked = needs_of(score(), KEYS, "abc", 60.0)
    assert asked.reads == {KEYS.shard("test", "0"), KEYS.state(1)}
    assert asked.writes == asked.creates == set()
    assert asked.looks == {(KEYS.open, RunKeys.WIRE)}
    assert asked.fields == {(KEYS.progress, "3"), (KEYS.claims, "abc")}
    assert asked.lasts_s > 60.0
    assert needs_of(score(model_key=KEYS.model), KEYS, "abc", 60.0).writes == {KEYS.model}


def test_updates_are_read_and_their_average_is_written():
    updates = tuple(
        messages.Update(
            client=n, worker=n, attempt=0, key=KEYS.update(1, n, 0, 0), samples=1, weight=1.0
        )
        for n in range(3)
    )
    request = messages.CollectRequest(round=1, updates=updates, state_key=KEYS.state(1))
    asked = needs_of(request, KEYS, None, 60.0)
    assert asked.reads == {update.key for update in updates}
    assert asked.writes == {KEYS.state(1)}
    assert asked.fields == set()


@pytest.mark.parametrize("what", ["shared", "summed"])
def test_a_secure_sum_fixes_its_clients_once(what):
    session = client_messages.SecureSession(
        run="r", round=2, attempt=1, threshold=0.5, claims_key=KEYS.claims
    )
    request = client_messages.SecureRequest(
        stage="reveal",
        worker=0,
        round=2,
        clients=(1,),
        session=session,
        to_key=KEYS.secure(2, "reveal", 0, 1),
    )
    asked = needs_of(request, KEYS, None, 60.0)
    assert (KEYS.claims, session.claimed_field(what)) in asked.fields
    assert asked.writes == {request.to_key}


def test_a_key_of_another_run_is_none_of_its_needs():
    other = RunKeys("other:turn")
    asked = needs_of(score(model_key=other.model), KEYS, None, 60.0)
    assert not asked.writes
    assert other.model not in asked.reads
