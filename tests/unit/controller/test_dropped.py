"""What a user is told of clients that are left out."""

import pytest

from disdel.controller.federating.dropped import DropNotes, causes_told


def test_a_platform_s_own_sentence_is_part_of_one():
    dropped = {2: "It exited unexpectedly.", 3: "It exited unexpectedly."}
    assert causes_told(dropped) == "clients 2, 3: It exited unexpectedly"


def test_each_client_is_told_of_once_with_the_reason():
    notes = DropNotes()
    assert notes.of_round(1, {3: "no data"}) == ["client 3 is left out of round 1: no data"]
    assert notes.of_round(2, {3: "no data", 1: "nan"}) == ["client 1 is left out of round 2: nan"]
    assert notes.of_round(3, {1: "nan"}) == []


@pytest.mark.parametrize(
    ("clients", "told"),
    [
        (2, "clients 0, 1 are left out of round 1: no data"),
        (6, "clients 0, 1, 2, 3, 4 and 1 other are left out of round 1: no data"),
        (20, "clients 0, 1, 2, 3, 4 and 15 others are left out of round 1: no data"),
    ],
)
def test_a_reason_of_many_is_told_once(clients, told):
    assert DropNotes().of_round(1, dict.fromkeys(range(clients), "no data")) == [told]


@pytest.mark.parametrize(
    ("clients", "rest"), [(6, "1 more client is left"), (20, "15 more clients are left")]
)
def test_many_reasons_are_told_of_in_one_sentence(clients, rest):
    told = DropNotes().of_round(1, {client: f"no disk {client}" for client in range(clients)})
    assert len(told) == 6
    assert told[-1].startswith(rest)


@pytest.mark.parametrize(
    ("clients", "end"), [(5, "client 4: late 4"), (6, "; and 1 other"), (7, "; and 2 others")]
)
def test_causes_of_a_few(clients, end):
    assert causes_told({client: f"late {client}" for client in range(clients)}).endswith(end)


def test_a_cause_of_many_is_told_once_with_whom_it_is_of():
    dropped = dict.fromkeys(range(1, 9), "no disk") | {0: "late", 4: "late"}
    assert causes_told(dropped) == "clients 0, 4: late; clients 1, 2, 3, 5, 6 and 2 others: no disk"
    assert causes_told(dropped, 1) == "clients 0, 4: late; and 7 others"
