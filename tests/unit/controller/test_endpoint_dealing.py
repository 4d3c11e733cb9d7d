"""Clients over endpoints: who may train where, and what is fast or cheap."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.controller.federating.dealing import Place, deal, deal_among


def place(worker, endpoint, slowness=1.0, usd=None):
    return Place(worker=worker, endpoint=endpoint, slowness=slowness, usd_per_gb_s=usd)


def anywhere(_):
    return None


def test_bound_clients_train_where_they_belong():
    """3 at the edge, 7 in one cluster, 90 in a cloud."""
    places = [place(0, "edge", 8.0), *(place(w, "whisk", 2.0) for w in (1, 2))]
    places += [place(w, "cloud") for w in range(3, 9)]
    homes = {c: "edge" if c < 3 else "whisk" if c < 10 else "cloud" for c in range(100)}
    hands, stranded = deal_among(
        dict.fromkeys(range(100), 1.0), places, lambda c: frozenset({homes[c]})
    )
    assert not stranded
    assert sorted(hands[0]) == [0, 1, 2]
    assert sorted(hands[1] + hands[2]) == list(range(3, 10))
    assert {len(hand) for hand in hands[3:]} == {15}


def test_a_slow_endpoint_has_less_to_do_and_bound_clients_count_there():
    places = [place(0, "slow", 3.0), place(1, "fast")]
    hands, _ = deal_among(dict.fromkeys(range(8), 1.0), places, anywhere)
    assert [len(hand) for hand in hands] == [2, 6]
    bound = frozenset({"slow"})
    hands, _ = deal_among(dict.fromkeys(range(8), 1.0), places, lambda c: bound if c < 2 else None)
    assert hands[0] == [0, 1]


def test_by_price_the_cheapest_has_all_that_are_free():
    places = [
        place(0, "dear", usd=2e-5),
        place(1, "cheap", 9.0, usd=1e-5),
        place(2, "cheap", 9.0, 1e-5),
    ]
    hands, _ = deal_among(
        dict.fromkeys(range(6), 1.0),
        places,
        lambda c: frozenset({"dear"}) if c == 5 else None,
        by_price=True,
    )
    assert [len(hand) for hand in hands] == [1, 3, 2]


def test_who_may_train_nowhere_is_told():
    hands, stranded = deal_among(
        {0: 1.0, 1: 1.0}, [place(0, "a")], lambda c: frozenset() if c else frozenset({"a"})
    )
    assert (hands, stranded) == ([[0]], [1])
    assert deal_among({0: 1.0}, [], anywhere) == ([], [0])


@given(
    st.dictionaries(st.integers(0, 30), st.floats(0.01, 100), max_size=20),
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(1, 9)), min_size=1, max_size=6),
    st.integers(0, 7),
)
def test_everybody_is_dealt_once(seconds, kinds, bits):
    places = [place(w, name, slow) for w, (name, slow) in enumerate(kinds)]
    group = frozenset(name for bit, name in enumerate("abc") if bits >> bit & 1)

    def where(client):
        return group if client % 2 else None

    hands, stranded = deal_among(seconds, places, where)
    dealt = [client for hand in hands for client in hand]
    assert sorted([*dealt, *stranded]) == sorted(seconds)
    there = {p.worker: p.endpoint for p in places}
    for worker, hand in enumerate(hands):
        assert all(where(client) is None or there[worker] in group for client in hand)
    able = group & {p.endpoint for p in places}
    assert bool(stranded) is (not able and any(client % 2 for client in seconds))


def test_alike_endpoints_are_as_good_as_one():
    seconds = {c: 1.0 + c % 3 for c in range(20)}
    alone = deal(seconds, 4)
    hands, _ = deal_among(seconds, [place(w, "a") for w in range(4)], anywhere)
    longest = max(math.fsum(seconds[c] for c in hand) for hand in alone)
    assert max(math.fsum(seconds[c] for c in hand) for hand in hands) == pytest.approx(longest)
