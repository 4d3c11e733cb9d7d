"""Waiting for a condition, with a deadline that only a failure reaches."""

import time

# So late a machine that does much else at the same time still is not.
DEADLINE_S = 120.0


def wait_until(condition, deadline_s=DEADLINE_S):
    """What `condition()` gives once it is true; fail when it is still false at the deadline."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"still {value!r} after {deadline_s} s"
        time.sleep(0.01)
    return value


def wait_until_none(left, deadline_s=DEADLINE_S):
    """Wait until `left()` is empty; fail with what it holds at the deadline."""
    end = time.monotonic() + deadline_s
    while found := left():
        assert time.monotonic() < end, f"still left after {deadline_s} s: {found}"
        time.sleep(0.01)
