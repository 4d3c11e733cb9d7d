"""No call comes while all containers of its action are still busy with their last one."""

import asyncio

import pytest

from disdel.controller.invoking.settling import Settling

SETTLE_S = 0.15


class Time:
    def __init__(self):
        self.now_s = 0.0

    def clock(self):
        return self.now_s

    async def sleep(self, seconds):
        assert seconds > 0
        self.now_s += seconds


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def settling(time):
    return Settling(SETTLE_S, time.clock, time.sleep)


def waited_s(settling, time, name):
    before_s = time.now_s
    asyncio.run(settling.free(name))
    return time.now_s - before_s


def test_the_first_calls_start_their_containers_at_once(settling, time):
    with settling.running("train"):
        assert waited_s(settling, time, "train") == 0


def test_the_next_call_of_a_container_comes_after_it_has_settled(settling, time):
    with settling.running("train"):
        time.now_s += 5
    time.now_s += 0.05
    assert waited_s(settling, time, "train") == pytest.approx(SETTLE_S - 0.05)
    assert waited_s(settling, time, "train") == 0


def test_a_container_that_is_free_is_used_at_once(settling, time):
    with settling.running("train"):
        with settling.running("train"):
            pass
        time.now_s += 1
    # One has been free for a second.
    assert waited_s(settling, time, "train") == 0


def test_calls_that_need_all_containers_wait_for_the_last_of_them(settling, time):
    with settling.running("train"):
        with settling.running("train"):
            time.now_s += 1
        time.now_s += 0.1
    assert waited_s(settling, time, "train") == pytest.approx(SETTLE_S - 0.1)
    with settling.running("train"):
        assert waited_s(settling, time, "train") == pytest.approx(0.1)


def test_other_actions_have_other_containers(settling, time):
    with settling.running("train"):
        pass
    assert waited_s(settling, time, "collectWeights") == 0


def test_a_call_that_fails_leaves_its_container_to_settle(settling, time):
    with pytest.raises(ZeroDivisionError), settling.running("train"):
        raise ZeroDivisionError
    assert waited_s(settling, time, "train") == pytest.approx(SETTLE_S)


def test_a_platform_that_settles_at_once_is_not_waited_for(time):
    settling = Settling(0.0, time.clock, time.sleep)
    with settling.running("train"):
        pass
    assert waited_s(settling, time, "train") == 0
