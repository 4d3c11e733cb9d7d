"""Signals of Python processes that tests start, whoever has started the tests."""

# First in a process: signals end it, also where `nohup` or `&` has them ignored.
AS_IN_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
"""
