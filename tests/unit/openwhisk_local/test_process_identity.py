from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from openwhisk_local.machine.process_identity import own_identity, own_view

OWN = own_identity()


def test_this_process_is_alive() -> None:
    assert OWN.alive
    assert OWN.pid == os.getpid()


def test_a_number_that_is_used_again_is_another_process() -> None:
    later = OWN if OWN.start_ticks is None else replace(OWN, start_ticks=OWN.start_ticks + 100)
    assert not replace(later, created=OWN.created + 10).alive


@pytest.mark.skipif(OWN.start_ticks is None, reason="the kernel does not tell ticks")
def test_an_adjusted_clock_kills_nobody() -> None:
    assert replace(OWN, created=OWN.created - 3600).alive


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    try:
        identity = replace(
            OWN, pid=child.pid, created=psutil.Process(child.pid).create_time(), start_ticks=None
        )
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            os.sched_yield()
        assert not identity.alive
    finally:
        child.wait()


@pytest.mark.parametrize(
    ("changed", "same_kernel", "before_boot"),
    [
        ({"pid_namespace": "pid:[1]"}, True, False),
        ({"boot": "another"}, False, True),
        ({"boot": "another", "host": "elsewhere"}, False, False),
    ],
)
def test_a_process_that_cannot_be_seen(changed, same_kernel, before_boot) -> None:
    hidden = replace(OWN, view=replace(own_view(), **changed), created=1.0)
    assert not hidden.seen_from_here
    assert not hidden.alive
    assert (hidden.on_this_kernel, hidden.before_this_boot) == (same_kernel, before_boot)


def test_a_host_of_the_same_name_that_still_runs() -> None:
    """What started after this boot is no remainder of an earlier one."""
    twin = replace(OWN, view=replace(own_view(), boot="another"))
    assert not twin.before_this_boot
