from disdel.controller.training.speculation import LATE_MARGIN_S, RoundClock


def clock_at(now):
    return RoundClock(clock=lambda: now[0])


def test_a_worker_with_more_to_do_has_so_much_more_time():
    now = [0.0]
    clock = clock_at(now)
    now[0] = 10.0
    clock.worker_done(100)
    now[0] = 21.0
    assert clock.is_late(100)
    assert clock.is_late(10)
    assert not clock.is_late(300)
    now[0] = 61.0
    assert clock.is_late(300)


def test_nobody_is_late_before_another_is_done_nor_by_little():
    now = [0.0]
    clock = clock_at(now)
    now[0] = 1e6
    assert not clock.is_late(1)
    now[0] = 0.1
    clock.worker_done(5)
    now[0] = 0.1 + LATE_MARGIN_S - 0.01
    assert not clock.is_late(5)
    now[0] = 0.1 + LATE_MARGIN_S + 0.01
    assert clock.is_late(5)
