"""SIGTERM and SIGHUP end a command as Ctrl-C does: it removes what it has created."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def taken_as_interrupts() -> Iterator[None]:
    """Inside, in the main thread, whoever handles an interrupt handles these signals too.

    Signals that the program handles itself, or that are ignored (`nohup`), stay as they are.
    """
    ours = []
    if threading.current_thread() is threading.main_thread():
        ours = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    # While a loop runs, its own handler, which cancels what runs in it.
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        # Ctrl-C is ignored, as in the background of a script; this is another wish.
        raise KeyboardInterrupt
