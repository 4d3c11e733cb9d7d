"""Where an activation runs: placement over containers, bounded by the user memory.

The order is OpenWhisk's: a free warm container of the same action (of several, the one that was
there first, so that work which comes in the same order finds the same containers), else a stem cell
of the same image and limit, else a new container if its limit fits in the user memory, else a new
one after evicting free ones, least recently used first; else the activation waits. While one waits,
all later ones wait behind it. What counts is the limit of a container, not its use, from before its
start until it is gone: unlike OpenWhisk's, this pool never promises memory twice.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

IDLE_S = 600.0

_LOG = logging.getLogger(__name__)


class Work(Protocol):
    """An activation, as far as placement is concerned.

    `warm_key` is equal for work that may share a container, `image_key` for work whose containers
    are the same until they are initialized.
    """

    @property
    def warm_key(self) -> str: ...
    @property
    def image_key(self) -> str: ...
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
class Stem:
    """Containers to keep started, but not initialized, for whoever comes first."""

    image_key: str
    memory_mb: int
    count: int


@dataclass(frozen=True, slots=True)
class Kept(Generic[B]):
    """The work is done and the container may be used again."""

    box: B


@dataclass(frozen=True, slots=True)
class Spent:
    """The work is done and its container is gone."""


@dataclass(frozen=True, slots=True)
class Again:
    """The container is gone, the work was not done: place it once more."""


# Asks for so many MB more than the limit of a working container is.
Grow = Callable[[int], bool]


class Worker(Protocol[W_contra, B]):
    """What the pool needs to have work done."""

    async def perform(self, work: W_contra, box: B | None, grow: Grow) -> Kept[B] | Spent | Again:
        """Do `work` in a warm container or a stem cell, or in a new one for None. Never raises."""

    async def prepare(self, stem: Stem) -> B:
        """Start a stem cell and return it when it is ready to be initialized."""

    def refuse(self, work: W_contra) -> None:
        """Answer for work that will not be done."""


@dataclass(slots=True, eq=False)
class _Free(Generic[B]):
    """A warm container waiting for work; `place` is its place in the order of first use."""

    box: B
    warm_key: str
    memory_mb: int
    place: int
    expiry: asyncio.TimerHandle | None = field(default=None)


@dataclass(slots=True, eq=False)
class _Cells(Generic[B]):
    """The stem cells of one description: those that are ready, and how many are on their way."""

    stem: Stem
    wanted: int
    coming: int = 0
    ready: list[B] = field(default_factory=list)

    def fit(self, work: Work) -> bool:
        ours = (self.stem.image_key, self.stem.memory_mb)
        return ours == (work.image_key, work.memory_mb)


class Pool(Generic[W, B]):
    """Places work. All methods belong to the event loop's thread."""

    def __init__(
        self,
        worker: Worker[W, B],
        user_memory_mb: int,
        stems: Iterable[Stem] = (),
        idle_s: float = IDLE_S,
    ) -> None:
        self._worker = worker
        self._user_memory_mb = user_memory_mb
        self._idle_s = idle_s
        self._cells: list[_Cells[B]] = [_Cells(stem, stem.count) for stem in stems]
        self._waiting: deque[W] = deque()
        # Least recently used first.
        self._free: list[_Free[B]] = []
        # The limits of the containers at work.
        self._held_mb: dict[W, int] = {}
        self._places = itertools.count()
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

    def open(self) -> None:
        """Start the stem cells."""
        self._refill()

    def submit(self, work: W) -> None:
        """Have `work` done, now or when there is room.

        Work that can never have enough memory would wait for ever, and everything behind it: it
        is refused at once.
        """
        if self._closed or not self._has_a_place(work):
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
        while self._free or self._tasks or any(cells.ready for cells in self._cells):
            for free in self._free[:]:
                self._evict(free)
            for cells in self._cells:
                while cells.ready:
                    self._remove(cells.ready.pop(), cells.stem.memory_mb)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _has_a_place(self, work: W) -> bool:
        """Whether `work` would run if nothing else did; stem cells are never evicted for it."""
        if any(cells.fit(work) for cells in self._cells):
            return True
        reserved_mb = sum(cells.wanted * cells.stem.memory_mb for cells in self._cells)
        return work.memory_mb <= self._user_memory_mb - reserved_mb

    def _dispatch(self) -> None:
        while self._waiting and self._place(self._waiting[0]):
            self._waiting.popleft()
        self._refill()

    def _place(self, work: W) -> bool:
        for free in [free for free in self._free if not free.box.alive]:
            self._evict(free)
        # The same one for the same work, where that comes in the same order again and again: it
        # may have kept something. Those that are too many are not used, and their time runs out.
        warm = min(
            (free for free in self._free if free.warm_key == work.warm_key),
            key=lambda free: free.place,
            default=None,
        )
        if warm:
            self._withdraw(warm)
            self._spawn(work, warm.box, warm.memory_mb, warm.place)
            return True
        stem_cell = self._take_stem_cell(work)
        if stem_cell:
            self._spawn(work, stem_cell, work.memory_mb)
            return True
        if self._taken_mb + work.memory_mb <= self._user_memory_mb:
            self._taken_mb += work.memory_mb
            self._spawn(work, None, work.memory_mb)
            return True
        self._make_room(work.memory_mb)
        return False

    def _take_stem_cell(self, work: W) -> B | None:
        for cells in self._cells:
            while cells.fit(work) and cells.ready:
                box = cells.ready.pop(0)
                if box.alive:
                    return box
                self._remove(box, cells.stem.memory_mb)
        return None

    def _refill(self) -> None:
        """Replace stem cells that were taken, with memory that nothing waits for."""
        for cells in self._cells:
            memory_mb = cells.stem.memory_mb
            while (
                len(cells.ready) + cells.coming < cells.wanted
                and self._taken_mb + memory_mb <= self._user_memory_mb
                and not (self._waiting or self._closed)
            ):
                self._taken_mb += memory_mb
                cells.coming += 1
                self._track(asyncio.create_task(self._prepare(cells)))

    async def _prepare(self, cells: _Cells[B]) -> None:
        try:
            cells.ready.append(await self._worker.prepare(cells.stem))
        except BaseException:
            # One that cannot be started now would not start at the next attempt either.
            cells.wanted -= 1
            self._taken_mb -= cells.stem.memory_mb
            raise
        finally:
            cells.coming -= 1
            self._dispatch()

    def _make_room(self, memory_mb: int) -> None:
        """Evict for `memory_mb`, unless that cannot be enough: then warm containers stay."""
        coming_mb = self._user_memory_mb - self._taken_mb + self._leaving_mb
        if coming_mb + sum(free.memory_mb for free in self._free) < memory_mb:
            return
        while coming_mb < memory_mb:
            coming_mb += self._free[0].memory_mb
            self._evict(self._free[0])

    def _spawn(self, work: W, box: B | None, held_mb: int, place: int | None = None) -> None:
        self._held_mb[work] = held_mb
        place = next(self._places) if place is None else place
        self._track(asyncio.create_task(self._run(work, box, place)))

    async def _run(self, work: W, box: B | None, place: int) -> None:
        done = await self._worker.perform(work, box, lambda more_mb: self._grow(work, more_mb))
        held_mb = self._held_mb.pop(work)
        if isinstance(done, Kept):
            self._keep(done.box, work, held_mb, place)
        else:
            self._taken_mb -= held_mb
        if isinstance(done, Again):
            self._waiting.appendleft(work)
        self._dispatch()

    def _grow(self, work: W, more_mb: int) -> bool:
        """Whether the container of `work` may have `more_mb` more, which then count as its own.

        Where it may not, free containers are evicted for the next attempt, unless other work
        waits for memory.
        """
        if self._taken_mb + more_mb > self._user_memory_mb:
            if not self._waiting:
                self._make_room(more_mb)
            return False
        self._held_mb[work] += more_mb
        self._taken_mb += more_mb
        return True

    def _keep(self, box: B, work: W, memory_mb: int, place: int) -> None:
        free = _Free(box, work.warm_key, memory_mb, place)
        self._free.append(free)
        free.expiry = asyncio.get_running_loop().call_later(self._idle_s, self._evict, free)

    def _withdraw(self, free: _Free[B]) -> None:
        self._free.remove(free)
        if free.expiry:
            free.expiry.cancel()

    def _evict(self, free: _Free[B]) -> None:
        self._withdraw(free)
        self._remove(free.box, free.memory_mb)

    def _remove(self, box: B, memory_mb: int) -> None:
        self._leaving_mb += memory_mb
        self._track(asyncio.create_task(self._destroy(box, memory_mb)))

    async def _destroy(self, box: B, memory_mb: int) -> None:
        try:
            await box.destroy()
        finally:
            self._leaving_mb -= memory_mb
            self._taken_mb -= memory_mb
            self._dispatch()

    def _track(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _LOG.error("a container is lost", exc_info=error)
