"""The command `disdel`: the one place where errors become messages and exit codes.

0 done, 1 the run failed, 2 the user's input, 130 interrupted.
"""

from __future__ import annotations

import sys

# All else is imported where an interrupt ends the command without a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from pathlib import Path

INTERRUPTED = 130
USER_INPUT = 2


def main() -> None:
    """Run the command line and exit."""
    try:
        from disdel.host import command

        command.begin()
        from disdel.host.interrupts import taken_as_interrupts

        with taken_as_interrupts():
            code = _run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    import os
    import signal
    import threading

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # It is ending.
    # An interrupt inside an `exec` of text, as dataclasses are made by, has `python -m` end by that
    # signal, whoever has handled it: until text is executed again.
    exec("")
    if code == INTERRUPTED and any(_is_waited_for(thread) for thread in threading.enumerate()):
        # Interrupted a second time: who still works in a thread is not waited for.
        os._exit(code)
    sys.exit(code)


def _is_waited_for(thread: threading.Thread) -> bool:
    import threading

    return thread is not threading.main_thread() and not thread.daemon


def _run() -> int:
    # Each import can be interrupted, or fail.
    try:
        from disdel.host import streams

        streams.open_streams()
        code = _command()
        streams.flush_output()
    except BaseException as error:
        import contextlib

        code = _complain(error)
        with contextlib.suppress(Exception):
            streams.flush_output()
    return code


def _command() -> int:
    """Run the command; its exit code."""
    import logging

    from disdel.host import crashes, streams
    from openwhisk_local.machine.allocator import collect_rarely, keep_large_blocks_apart

    if not crashes.debugging():
        # What it tells of tasks that nobody asks any more is nothing to the user.
        logging.getLogger("asyncio").addHandler(logging.NullHandler())
        logging.getLogger("asyncio").propagate = False

    keep_large_blocks_apart()
    collect_rarely()
    from disdel.cli.app import app
    from disdel.cli.commands import said_by_typer

    try:
        code = int(app(standalone_mode=False) or 0)
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        code = int(end.code or 0)
    except Exception as error:
        if (said := said_by_typer(error)) is None:
            raise
        streams.say(said)
        return USER_INPUT
    # Typer turns an interrupt inside a command into a silent exit.
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def _complain(error: BaseException) -> int:
    """Tell of an error; the exit code that it means."""
    from disdel.host import crashes, streams, telling

    if crashes.debugging():
        crashes.show(error)
    if isinstance(error, KeyboardInterrupt):
        streams.say("disdel: interrupted")
        return INTERRUPTED
    if isinstance(error, streams.OutputLost) and error.reader_left:
        return 0  # As of `| head`, which has what it wanted.
    message, code = telling.told(error, (_run_dir, _data_dir)) or crashes.kept(error)
    streams.say(f"disdel: {message}")
    return code


def _run_dir() -> Path:
    from disdel.settings import run_dir

    return run_dir()


def _data_dir() -> Path:
    from disdel.settings import data_dir

    return data_dir()


if __name__ == "__main__":
    main()
