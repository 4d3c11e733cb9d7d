from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from openwhisk_local.containers.pool import Again, Grow, Kept, Pool, Spent, Stem


@dataclass(eq=False)
class Box:
    name: str
    alive: bool = True
    destroyed: bool = False
    may_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def destroy(self) -> None:
        await self.may_go.wait()
        self.alive, self.destroyed = False, True


@dataclass(eq=False)
class Work:
    warm_key: str
    memory_mb: int = 100
    image_key: str = "image"
    fails: bool = False
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    box: Box | None = None
    cold: bool = False
    refused: bool = False
    grow: Grow | None = None


class FakeWorker:
    def __init__(self) -> None:
        self.started: list[Work] = []
        self.boxes: list[Box] = []
        self.may_prepare = asyncio.Event()
        self.unprepared = False

    async def perform(self, work: Work, box: Box | None, grow: Grow) -> Kept[Box] | Spent | Again:
        work.grow = grow
        if box is not None and not box.alive:
            return Again()
        if box is None:
            work.cold = True
            box = Box(work.warm_key)
            self.boxes.append(box)
        work.box = box
        self.started.append(work)
        await work.finish.wait()
        return Spent() if work.fails else Kept(box)

    async def prepare(self, stem: Stem) -> Box:
        await self.may_prepare.wait()
        if self.unprepared:
            raise OSError("no room on the disk")
        box = Box(f"stem of {stem.image_key}")
        self.boxes.append(box)
        return box

    def refuse(self, work: Work) -> None:
        work.refused = True


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def pooled(
    test: Callable[[Pool[Work, Box], FakeWorker], Awaitable[None]], user_memory_mb: int = 200
) -> None:
    async def run() -> None:
        worker = FakeWorker()
        pool: Pool[Work, Box] = Pool(worker, user_memory_mb)
        await test(pool, worker)
        for work in worker.started:
            work.finish.set()
        await settle()
        for box in worker.boxes:
            box.may_go.set()
        await pool.close()
        assert pool.taken_mb == 0
        assert pool.waiting == 0

    asyncio.run(run())


async def done(pool: Pool[Work, Box], *works: Work) -> None:
    for work in works:
        work.finish.set()
        pool.submit(work)
        await settle()


def test_a_warm_container_is_used_again() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        first, second, other = Work("a"), Work("a"), Work("b")
        await done(pool, first, second, other)
        assert (first.cold, second.cold, other.cold) == (True, False, True)
        assert second.box is first.box
        assert pool.taken_mb == 200

    pooled(test)


def test_work_in_the_same_order_finds_the_same_containers() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        rounds = [[Work("a"), Work("a")] for _ in range(3)]
        for number, works in enumerate(rounds):
            for work in works:
                pool.submit(work)
            await settle()
            # Whoever ends first.
            for work in works if number % 2 else reversed(works):
                work.finish.set()
                await settle()
        assert [[work.box for work in works] for works in rounds] == [worker.boxes] * 3

    pooled(test)


def test_the_least_recently_used_container_is_evicted() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        a, b, c = Work("a"), Work("b"), Work("c")
        await done(pool, a, b, Work("a"))
        pool.submit(c)
        await settle()
        # Memory is not promised twice: the new one waits until the old one is gone.
        assert c.box is None
        assert b.box is not None
        b.box.may_go.set()
        await settle()
        assert c.cold
        assert b.box.destroyed
        assert a.box is not None
        assert not a.box.destroyed

    pooled(test)


def test_nothing_is_evicted_in_vain() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        busy, idle, large = Work("a"), Work("b"), Work("c", memory_mb=200)
        pool.submit(busy)
        await done(pool, idle)
        pool.submit(large)
        await settle()
        assert large.box is None
        assert idle.box is not None
        idle.box.may_go.set()
        await settle()
        assert idle.box.alive
        busy.finish.set()
        await settle()
        assert busy.box is not None
        busy.box.may_go.set()
        await settle()
        assert large.cold

    pooled(test)


def test_everything_waits_behind_what_waits() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        one, two = Work("a"), Work("b")
        pool.submit(one)
        pool.submit(two)
        three, again = Work("c"), Work("a")
        pool.submit(three)
        pool.submit(again)
        await settle()
        assert pool.waiting == 2
        one.finish.set()
        await settle()
        # There is a warm container for `again`, but `three` came first and takes its memory.
        assert again.box is None
        assert one.box is not None
        one.box.may_go.set()
        await settle()
        assert worker.started == [one, two, three]
        two.finish.set()
        await settle()
        assert two.box is not None
        two.box.may_go.set()
        await settle()
        assert worker.started[-1] is again

    pooled(test)


def test_a_spent_container_gives_its_memory_back() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        failing = Work("a", fails=True)
        await done(pool, failing)
        assert pool.taken_mb == 0
        again = Work("a")
        await done(pool, again)
        assert again.cold

    pooled(test)


def test_a_dead_warm_container_is_replaced() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        first, second = Work("a"), Work("a")
        await done(pool, first)
        assert first.box is not None
        first.box.alive = False
        first.box.may_go.set()
        await done(pool, second)
        assert second.cold

    pooled(test)


def test_a_container_that_dies_on_the_way_costs_nothing() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        first, second = Work("a"), Work("a")
        await done(pool, first)
        pool.submit(second)
        assert first.box is not None
        first.box.alive = False
        second.finish.set()
        await settle()
        assert second.cold

    pooled(test)


def test_work_above_the_user_memory_is_refused() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        large, fitting = Work("a", memory_mb=201), Work("a", memory_mb=200)
        pool.submit(large)
        await done(pool, fitting)
        assert large.refused
        assert fitting.cold

    pooled(test)


def test_closing_refuses_what_waits() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        running, waiting = Work("a", memory_mb=200), Work("b")
        pool.submit(running)
        pool.submit(waiting)
        await settle()
        closing = asyncio.create_task(pool.close())
        await settle()
        assert waiting.refused
        assert not closing.done()
        running.finish.set()
        await settle()
        assert running.box is not None
        running.box.may_go.set()
        await closing
        assert running.box.destroyed
        late = Work("a")
        pool.submit(late)
        assert late.refused

    pooled(test)


def test_an_idle_container_expires() -> None:
    async def run() -> None:
        worker = FakeWorker()
        pool: Pool[Work, Box] = Pool(worker, 200, idle_s=0.0)
        work = Work("a")
        work.finish.set()
        pool.submit(work)
        while work.box is None:
            await asyncio.sleep(0)
        work.box.may_go.set()
        while not work.box.destroyed:
            await asyncio.sleep(0)
        await settle()
        assert pool.taken_mb == 0
        await pool.close()

    asyncio.run(run())


def with_stems(
    test: Callable[[Pool[Work, Box], FakeWorker], Awaitable[None]], *stems: Stem
) -> None:
    async def run() -> None:
        worker = FakeWorker()
        pool: Pool[Work, Box] = Pool(worker, 400, stems)
        pool.open()
        await test(pool, worker)
        worker.may_prepare.set()
        for work in worker.started:
            work.finish.set()
        await settle()
        for box in worker.boxes:
            box.may_go.set()
        await pool.close()
        assert pool.taken_mb == 0

    asyncio.run(run())


def test_a_stem_cell_counts_is_taken_and_replaced() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        assert pool.taken_mb == 100
        early = Work("a")
        await done(pool, early)
        # It is not waited for.
        assert early.cold
        worker.may_prepare.set()
        await settle()
        taker = Work("b")
        await done(pool, taker)
        assert not taker.cold
        assert taker.box is worker.boxes[1]
        await settle()
        assert pool.taken_mb == 300
        others = Work("c", 50, image_key="other"), Work("d", 50)
        await done(pool, *others)
        assert all(work.cold for work in others)

    with_stems(test, Stem("image", 100, 1))


def test_stem_cells_are_not_evicted_nor_refilled_before_what_waits() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        worker.may_prepare.set()
        await settle()
        assert pool.taken_mb == 300
        too_large = Work("x", memory_mb=200, image_key="other")
        pool.submit(too_large)
        assert too_large.refused
        running = [Work(key) for key in "abc"]
        for work in running:
            pool.submit(work)
        await settle()
        assert not any(work.cold for work in running)
        waiting = Work("d", image_key="other"), Work("e", image_key="other")
        for work in waiting:
            pool.submit(work)
        await settle()
        assert [work.cold for work in waiting] == [False, False]
        running[0].fails = running[1].fails = True
        running[0].finish.set()
        running[1].finish.set()
        await settle()
        assert pool.waiting == 0

    with_stems(test, Stem("image", 100, 3))


def test_a_stem_cell_that_died_or_cannot_start() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        worker.may_prepare.set()
        await settle()
        worker.boxes[0].alive = False
        worker.unprepared = True
        work = Work("a")
        await done(pool, work)
        assert work.cold
        worker.boxes[0].may_go.set()
        await settle()
        # The attempt to replace it has failed, and is not repeated for ever.
        assert pool.taken_mb == 100

    with_stems(test, Stem("image", 100, 1))


def test_growth_is_memory_that_counts() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        work, idle = Work("a"), Work("b", memory_mb=50)
        await done(pool, idle)
        pool.submit(work)
        await settle()
        assert work.grow is not None
        assert not work.grow(100)
        # The idle one was in the way, and makes room for the next attempt.
        assert idle.box is not None
        idle.box.may_go.set()
        await settle()
        assert work.grow(100)
        assert pool.taken_mb == 200
        other = Work("c", memory_mb=50)
        pool.submit(other)
        work.finish.set()
        await settle()
        # Its container is kept at the size that it has, and so is evicted as a whole.
        assert other.box is None
        assert work.box is not None
        work.box.may_go.set()
        await settle()
        assert other.cold
        assert pool.taken_mb == 50

    pooled(test)


def test_growth_does_not_evict_for_itself_what_others_wait_for() -> None:
    async def test(pool: Pool[Work, Box], worker: FakeWorker) -> None:
        work, idle, large = Work("a"), Work("b", memory_mb=50), Work("c", memory_mb=200)
        await done(pool, idle)
        pool.submit(work)
        pool.submit(large)
        await settle()
        assert work.grow is not None
        assert not work.grow(100)
        assert idle.box is not None
        idle.box.may_go.set()
        await settle()
        assert idle.box.alive

    pooled(test)
