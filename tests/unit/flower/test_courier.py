"""Messages to nodes, whose containers are lost, slow, hostile, or short of memory."""

import time

import pytest

from disdel.errors import EndpointLost, StoreError
from disdel.platforms.endpoints import Endpoint
from disdel.settings import Settings
from disdel.types.events import Noted
from tests.support.fake_platform import CAPACITY


def notes(told):
    return [event.message for event in told if isinstance(event, Noted)]


def test_every_message_has_its_reply_and_its_line_in_the_ledger(deliver):
    courier, letters = deliver((0, "a"), (1, "a"), (2, "b"))
    assert [bytes(letter.reply) for letter in letters] == [b"1 of a", b"1 of a", b"1 of b"]
    entries = sorted(courier.entries(), key=lambda entry: entry.message)
    assert [(e.partition, e.round, e.type, e.outcome) for e in entries] == [
        (0, 1, "train", "ok"),
        (1, 1, "train", "ok"),
        (2, 1, "train", "ok"),
    ]
    assert all(e.sent_bytes == 1 and e.reply_bytes == 6 and e.container for e in entries)
    assert all(e.gb_s == pytest.approx(0.025) for e in entries)


def test_messages_of_one_content_share_it_and_nothing_is_left(deliver, store, nodes):
    written = []
    put = store.put_stream
    store.put_stream = lambda key, pieces: (written.append(key), put(key, pieces))
    deliver((0, "a"), (1, "a"), (2, "a"))
    assert len([key for key in written if ":content:" in key]) == 1
    assert {key for key in store._blobs if ":content:" in key or ":reply:" in key} == set()
    assert len([key for key in store._blobs if ":context:" in key]) == 3


def test_what_a_node_keeps_is_that_of_the_reply_that_counts(deliver, nodes, ended):
    """Each message's first activation writes state and reply, and is lost; so do later ones."""
    nodes.happens = lambda request: ended() if request["reply_key"].endswith(":0") else None
    courier, letters = deliver((0, "a"), (0, "b"), (0, "c"), (1, "d"))
    replies = sorted(bytes(letter.reply) for letter in letters[:3])
    assert [reply[:1] for reply in replies] == [b"1", b"2", b"3"]
    assert bytes(letters[3].reply) == b"1 of d"
    assert bytes(nodes.store.get(courier.nodes[0].context_key)) == b"3"
    assert {entry.attempts for entry in courier.entries()} == {2}


def test_a_node_does_one_message_at_a_time(deliver, nodes):
    at_once, most = set(), []

    def look(request):
        at_once.add(request["reply_key"])
        most.append(len(at_once))
        time.sleep(0.02)
        at_once.discard(request["reply_key"])

    nodes.happens = look
    deliver((0, "a"), (0, "b"), (0, "c"))
    assert max(most) == 1


def test_a_message_that_kills_its_container_fails_after_some_and_takes_nobody_along(
    deliver, nodes, ended, told
):
    nodes.happens = lambda request: ended() if request["client"] == 1 else None
    courier, letters = deliver(*((n % 4, str(n)) for n in range(8)))
    lost = [letter for letter in letters if letter.partition == 1]
    code, reason = lost[0].error
    assert code == 8
    assert "exited" in reason
    assert "log" in reason
    assert all(letter.error is None and letter.reply for letter in letters if letter not in lost)
    attempts = {entry.partition: entry.attempts for entry in courier.entries()}
    assert attempts == {0: 1, 1: 5, 2: 1, 3: 1}
    assert {entry.outcome for entry in courier.entries() if entry.partition == 1} == {"lost"}


def test_memory_that_ran_out_is_more_for_all_that_follow(deliver, nodes, ended, told):
    def happens(request):
        return ended("out-of-memory") if len(nodes.requests) == 1 else None

    nodes.happens = happens
    courier, _ = deliver((0, "a"), (0, "b"))
    assert courier.memory_mb == 384
    assert [e.attempts for e in courier.entries()] == [2, 1]
    assert any("lost (oom); it runs again with 384 MB" in note for note in notes(told))


def test_memory_ends_at_the_most_there_is(deliver, nodes, ended):
    nodes.happens = lambda request: ended("out-of-memory")
    courier, [letter] = deliver((0, "a"), most_mb=512)
    assert courier.entries()[0].attempts == 3
    assert letter.error[0] == 8
    assert "--memory-max" in letter.error[1]


def test_what_was_too_long_is_not_done_again(deliver, nodes, ended):
    nodes.happens = lambda request: ended("time-limit")
    courier, [letter] = deliver((0, "a"))
    assert courier.entries()[0].attempts == 1
    assert "--timeout-max" in letter.error[1]


def test_a_node_that_gives_no_answer_is_an_error_when_its_message_expires(deliver, nodes, told):
    nodes.happens = lambda request: time.sleep(1.2) if request["client"] == 0 else None
    _, letters = deliver((0, "a"), (1, "b"), ttl_s={0: 1.0})
    assert letters[0].error == (3, "no reply came in its time to live (1 activation begun)")
    assert letters[1].error is None


@pytest.mark.parametrize("other", [b"another", b"2 of a", bytes(1 << 20)])
def test_a_reply_that_is_another_than_was_said_is_refused(deliver, nodes, other):
    """Somebody else has written it, or the same activation a second time."""

    def overwrite(request):
        if request["client"] == 0:
            nodes.store.put(request["reply_key"], other)

    nodes.happens = overwrite
    courier, letters = deliver((0, "a"), (1, "b"))
    code, reason = letters[0].error
    assert code == 0
    assert "refused" in reason
    assert bytes(nodes.store.get(courier.nodes[0].context_key)) == b"0"
    assert bytes(letters[1].reply) == b"1 of b"


def test_an_activation_that_ends_late_changes_nothing(deliver, nodes, ended):
    late = {}

    def happens(request):
        late.update(request)
        return ended() if len(nodes.requests) == 1 else None

    nodes.happens = happens
    courier, [letter] = deliver((0, "a"))
    first = nodes.requests[0]
    nodes.store.put(first["reply_key"], b"late")
    nodes.store.put(first["new_context_key"], b"99")
    assert bytes(letter.reply) == b"1 of a"
    assert bytes(nodes.store.get(courier.nodes[0].context_key)) == b"1"


def test_a_reply_that_is_not_there_ends_the_run(deliver, nodes):
    nodes.happens = lambda request: nodes.store.delete(request["reply_key"])
    with pytest.raises(StoreError):
        deliver((0, "a"))


ENDPOINTS = tuple(
    Endpoint(name=name, platform="embedded", settings=Settings(), capacity=CAPACITY)
    for name in ("left", "right")
)


class Homes:
    """Node 0 belongs to the left and stays there, node 1 belongs there and may move."""

    def of(self, client):
        return frozenset({"left"}) if client < 2 else None

    def may_move(self, client):
        return client != 0


def test_nodes_are_where_they_belong_and_the_others_where_there_is_room(deliver):
    courier, _ = deliver(*((n, str(n)) for n in range(4)), endpoints=ENDPOINTS, homes=Homes())
    there = {entry.partition: entry.endpoint for entry in courier.entries()}
    assert (there[0], there[1]) == ("left", "left")
    assert "right" in (there[2], there[3])
    assert {entry.outcome for entry in courier.entries()} == {"ok"}


def test_an_endpoint_that_is_lost_costs_no_message_of_who_may_be_elsewhere(deliver, nodes):
    """It is not known before; the message that finds it out goes elsewhere, in its state."""
    lost = []

    def happens(request):
        if request["client"] != 2 and not lost:
            lost.append(request["client"])
            raise EndpointLost("left does not answer", endpoint="left")

    nodes.happens = happens
    courier, letters = deliver((1, "a"), (1, "b"), endpoints=ENDPOINTS, homes=Homes())
    assert sorted(bytes(letter.reply)[:1] for letter in letters) == [b"1", b"2"]
    assert {entry.outcome for entry in courier.entries()} == {"ok"}


def test_a_node_whose_endpoint_is_away_is_an_error_at_once(deliver):
    courier, letters = deliver(
        *((0, "a"), (1, "b"), (2, "c")),
        endpoints=ENDPOINTS,
        homes=Homes(),
        answers=lambda name: name != "left",
    )
    code, reason = letters[0].error
    assert code == 5
    assert "left does not answer, right answers" in reason
    assert [letter.error for letter in letters[1:]] == [None, None]
    assert {e.endpoint for e in courier.entries() if e.outcome == "ok"} == {"right"}
