"""Waiting for a condition, with a deadline that only a failure reaches."""

import time


def wait_until(condition, deadline_s=60.0):
    """What `condition()` gives once it is true; fail when it is still false at the deadline."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"still not true after {deadline_s} s"
        time.sleep(0.01)
    return value
