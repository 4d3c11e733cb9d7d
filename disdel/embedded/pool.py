"""Where an activation runs: placement over containers, bounded by the user memory.

The order is OpenWhisk's: a free warm container of the same action, else a new one if its limit
fits in the user memory, else a new one after evicting free ones, least recently used first; else
the activation waits. While one waits, all later ones wait behind it. What counts is the limit of a
container, not its use, from before its start until it is gone: unlike OpenWhisk's, this pool never
promises memory twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

IDLE_S = 600.0

_LOG = logging.getLogger(__name__)


class Work(Protocol):
    """An activation, as far as placement is concerned."""

    @property
    def warm_key(self) -> str: ...
    @property
    def memory_mb(self) -> int: ...


class Box(Protocol):
    """A container, as far as placement is concerned."""

    @property
    def alive(self) -> bool: ...
    async def destroy(self) -> None: ...


W = TypeVar("W", bound=Work)
W_contra = TypeVar("W_contra", bound=Work, contravariant=True)
B = TypeVar("B", bound=Box)


@dataclass(frozen=True, slots=True)
class Kept(Generic[B]):
    """The work is done and the container may be used again."""

    box: B


@dataclass(frozen=True, slots=True)
class Spent:
    """The work is done and its container is gone."""


@dataclass(frozen=True, slots=True)
class Again:
    """The warm container turned out to be gone, the work did not begin: place it once more."""


class Worker(Protocol[W_contra, B]):
    """What the pool needs to have work done."""

    async def perform(self, work: W_contra, box: B | None) -> Kept[B] | Spent | Again:
        """Do `work` in a warm container, or in a new one for None. Never raises."""

    def refuse(self, work: W_contra) -> None:
        """Answer for work that will not be done."""


@dataclass(slots=True, eq=False)
class _Free(Generic[B]):
    """A warm container waiting for work."""

    box: B
    warm_key: str
    memory_mb: int
    expiry: asyncio.TimerHandle | None = field(default=None)


class Pool(Generic[W, B]):
    """Places work. All methods belong to the event loop's thread."""

    def __init__(self, worker: Worker[W, B], user_memory_mb: int, idle_s: float = IDLE_S) -> None:
        self._worker = worker
        self._user_memory_mb = user_memory_mb
        self._idle_s = idle_s
        self._waiting: deque[W] = deque()
        # Least recently used first.
        self._free: list[_Free[B]] = []
        self._taken_mb = 0
        self._leaving_mb = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def taken_mb(self) -> int:
        """The limits of all containers that exist, summed."""
        return self._taken_mb

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, work: W) -> None:
        """Have `work` done, now or when there is room.

        Work above the whole user memory would wait for ever, and everything behind it: it is
        refused at once.
        """
        if self._closed or work.memory_mb > self._user_memory_mb:
            self._worker.refuse(work)
            return
        self._waiting.append(work)
        self._dispatch()

    async def close(self) -> None:
        """Refuse what waits, let what runs come to its end, and destroy every container.

        Killing the containers that run is the caller's part.
        """
        self._closed = True
        while self._waiting:
            self._worker.refuse(self._waiting.popleft())
        while self._free or self._tasks:
            for free in self._free[:]:
                self._evict(free)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _dispatch(self) -> None:
        while self._waiting and self._place(self._waiting[0]):
            self._waiting.popleft()

    def _place(self, work: W) -> bool:
        for free in [free for free in self._free if not free.box.alive]:
            self._evict(free)
        warm = next((f for f in reversed(self._free) if f.warm_key == work.warm_key), None)
        if warm:
            self._withdraw(warm)
            self._spawn(work, warm.box)
            return True
        if self._taken_mb + work.memory_mb <= self._user_memory_mb:
            self._taken_mb += work.memory_mb
            self._spawn(work, None)
            return True
        self._make_room(work.memory_mb)
        return False

    def _make_room(self, memory_mb: int) -> None:
        """Evict for `memory_mb`, unless that cannot be enough: then warm containers stay."""
        coming_mb = self._user_memory_mb - self._taken_mb + self._leaving_mb
        if coming_mb + sum(free.memory_mb for free in self._free) < memory_mb:
            return
        while coming_mb < memory_mb:
            coming_mb += self._free[0].memory_mb
            self._evict(self._free[0])

    def _spawn(self, work: W, box: B | None) -> None:
        self._track(asyncio.create_task(self._run(work, box)))

    async def _run(self, work: W, box: B | None) -> None:
        done = await self._worker.perform(work, box)
        if isinstance(done, Kept):
            self._keep(done.box, work)
        else:
            self._taken_mb -= work.memory_mb
        if isinstance(done, Again):
            self._waiting.appendleft(work)
        self._dispatch()

    def _keep(self, box: B, work: W) -> None:
        free = _Free(box, work.warm_key, work.memory_mb)
        self._free.append(free)
        free.expiry = asyncio.get_running_loop().call_later(self._idle_s, self._evict, free)

    def _withdraw(self, free: _Free[B]) -> None:
        self._free.remove(free)
        if free.expiry:
            free.expiry.cancel()

    def _evict(self, free: _Free[B]) -> None:
        self._withdraw(free)
        self._leaving_mb += free.memory_mb
        self._track(asyncio.create_task(self._destroy(free)))

    async def _destroy(self, free: _Free[B]) -> None:
        try:
            await free.box.destroy()
        finally:
            self._leaving_mb -= free.memory_mb
            self._taken_mb -= free.memory_mb
            self._dispatch()

    def _track(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _LOG.error("a container is lost", exc_info=error)
