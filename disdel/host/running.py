"""Coroutines run to their end, also where a loop is running already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from disdel.host.interrupts import taken_as_interrupts

T = TypeVar("T")

# A thread that has been started is running long before.
_START_S = 5.0


def run_to_end(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, also where a loop is running already, as in a notebook.

    An interrupt, SIGTERM and SIGHUP cancel it, and end when it has removed what it had created.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with taken_as_interrupts():
            return asyncio.run(start())
    running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = Future()
    outcome: Future[T] = Future()
    # An interrupted `Thread.join` takes the thread for ended: https://bugs.python.org/issue46726.
    ended = threading.Event()

    async def body() -> None:
        task = asyncio.ensure_future(start())
        running.set_result((asyncio.get_running_loop(), task))
        await asyncio.wait([task])
        if task.cancelled():
            outcome.set_exception(KeyboardInterrupt())
        elif (error := task.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(task.result())

    def run() -> None:
        try:
            asyncio.run(body())
        finally:
            ended.set()

    try:
        threading.Thread(target=run, name="disdel").start()
        ended.wait()
    except KeyboardInterrupt:
        loop, task = running.result(_START_S)
        loop.call_soon_threadsafe(task.cancel)
        ended.wait()
        raise
    return outcome.result()
