"""Signals of processes that tests start, whoever has started the tests."""

import signal


def as_in_a_terminal():
    """Before the execution of a child: signals end it, also where `nohup` or `&` ignores them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
