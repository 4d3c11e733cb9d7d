"""Tasks that somebody waits for later, or never, when something else has failed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin work; whoever awaits the task gets its error, and where nobody does it is not shown."""
    task = asyncio.create_task(work)
    task.add_done_callback(_look_at)
    return task


def _look_at(task: asyncio.Task[Any]) -> None:
    """Asyncio prints the errors of tasks that nobody has looked at."""
    if not task.cancelled():
        task.exception()
