import asyncio
import threading
import time

import pytest

from disdel.connections.patience import Patience


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def told():
    return []


@pytest.fixture
def clock():
    return Clock()


def pauses(tries, clock, **asked):
    """Of a server that never answers, until there is no further try."""
    found = []
    while (pause := tries.pause_s("refused", **asked)) is not None:
        found.append(pause)
        clock.now += pause
    return found


def test_pauses_grow_and_end_with_patience(clock, told):
    patience = Patience("Redis at x", 20.0, tell=told.append, clock=clock)
    found = pauses(patience.tries(), clock)
    assert clock.now == pytest.approx(120.0)
    assert 0.02 < found[0] <= 0.05
    assert all(1.0 <= pause <= 2.0 for pause in found[6:-1])


def test_a_server_that_has_ended_is_not_tried_again(clock, told):
    is_there = iter([True, False])
    patience = Patience(
        "Redis at x", 20.0, tell=told.append, clock=clock, has_ended=lambda: not next(is_there)
    )
    assert len(pauses(patience.tries(), clock)) == 1
    assert told == []


def test_an_outage_is_told_once_and_its_end(clock, told):
    patience = Patience("Redis at x", 20.0, tell=told.append, clock=clock)
    one, other = patience.tries(), patience.tries()
    for _ in range(8):
        # Pauses are drawn: either could be the first that is out for long enough.
        clock.now += one.pause_s("refused")
        other.pause_s("refused")
    assert told == ["Redis at x: refused; trying again for up to 20 s"]
    one.succeeded()
    other.succeeded()
    assert len(told) == 2
    assert told[1].startswith("Redis at x answers again, after ")


def test_of_a_blip_nobody_is_told(clock, told):
    tries = Patience("Redis at x", 20.0, tell=told.append, clock=clock).tries()
    clock.now += tries.pause_s("reset")
    tries.succeeded()
    assert told == []


def test_what_the_server_asks_for_is_heeded_if_there_is_time(clock):
    patience = Patience("OpenWhisk at x", 20.0, clock=clock)
    assert patience.tries().pause_s("503", at_least_s=7.0) == 7.0
    assert patience.tries().pause_s("503", at_least_s=21.0) is None


@pytest.mark.parametrize("limit_s", [0.0, 1.0])
def test_a_request_may_have_less_patience(clock, limit_s):
    patience = Patience("Redis at x", 20.0, clock=clock)
    assert sum(pauses(patience.tries(), clock, limit_s=limit_s)) == pytest.approx(limit_s)


def test_a_deadline_ends_patience(clock):
    patience = Patience("Redis at x", 20.0, deadline_s=clock.now + 3.0, clock=clock)
    assert sum(pauses(patience.tries(), clock)) == pytest.approx(3.0)


def test_who_is_in_a_hurry_wakes_those_that_wait():
    patience = Patience("Redis at x", 1000.0)
    tries = patience.tries()
    threading.Timer(0.1, patience.hurry).start()
    began_s = time.monotonic()
    assert tries.wait("refused", at_least_s=500.0)
    assert time.monotonic() - began_s < 100
    assert not tries.wait("refused", at_least_s=500.0)


def test_coroutines_wait_too():
    assert asyncio.run(Patience("x", 10.0).tries().pause("refused"))
    assert not asyncio.run(Patience("x", 0.0).tries().pause("refused"))
