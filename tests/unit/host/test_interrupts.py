"""What ends a command from outside ends it in order."""

import asyncio
import os
import signal

import pytest

from disdel.host import running
from disdel.host.interrupts import taken_as_interrupts


@pytest.fixture(autouse=True)
def default_handlers():
    """As a shell starts a program, whatever the one has that runs the tests."""
    before = {number: signal.getsignal(number) for number in (1, 2, 15)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def interrupted_by(number, ended):
    try:
        os.kill(os.getpid(), number)
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)  # Cleaning up takes its time.
        ended.append(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_a_run_cleans_up_before_it_ends(number, ctrl_c):
    if ctrl_c is signal.SIG_IGN and number == signal.SIGINT:
        pytest.skip("it is ignored")
    signal.signal(signal.SIGINT, ctrl_c)
    ended = []
    with pytest.raises(KeyboardInterrupt):
        running.run_to_end(lambda: interrupted_by(number, ended))
    assert ended == [number]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_interrupt_reaches_a_run_in_a_notebook():
    ended = []

    async def cell():
        running.run_to_end(lambda: interrupted_by(signal.SIGINT, ended))

    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(cell())
    loop.close()
    assert ended == [signal.SIGINT]


def test_what_a_program_handles_or_ignores_stays_its_own():
    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with taken_as_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
    assert heard == [signal.SIGTERM]
