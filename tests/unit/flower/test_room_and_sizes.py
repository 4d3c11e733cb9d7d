"""Who may run beside whom, and how large."""

import asyncio

import pytest

from disdel.errors import InsufficientMemory, UsageError
from disdel.flower.mailbox import Letter, Mailbox, answer
from disdel.flower.room import Room
from disdel.flower.sizing import Sizes, keep_peak, read_peak, start_of
from disdel.types import Limits
from tests.support.fake_platform import CAPACITY

SIZES = Sizes(128, 2048, None, 300)


def most_at_once(room, sizes_mb):
    running, most = [], []

    async def one(memory_mb):
        async with room.taken(memory_mb) as worker:
            running.append((worker, memory_mb))
            most.append(tuple(running))
            await asyncio.sleep(0)
            running.remove((worker, memory_mb))

    async def work():
        await asyncio.gather(*map(one, sizes_mb))

    asyncio.run(work())
    return most


def test_no_more_run_than_there_is_room_for():
    seen = most_at_once(Room(3, 1000), [400] * 10)
    assert max(map(len, seen)) == 2
    assert {worker for running in seen for worker, _ in running} == {0, 1}
    assert max(map(len, most_at_once(Room(3, None), [400] * 10))) == 3


def test_what_is_larger_than_the_pool_runs_alone():
    assert max(map(len, most_at_once(Room(3, 300), [400] * 3))) == 1


def test_a_cancelled_task_gives_its_room_back():
    async def work():
        room = Room(1, None)

        async def hold():
            async with room.taken(1):
                await asyncio.Event().wait()

        task = asyncio.create_task(hold())
        await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(60), room.taken(1) as worker:
            return worker

    assert asyncio.run(work()) == 0


@pytest.mark.parametrize(
    ("asked_mb", "peak_mb", "memory_mb", "measures"),
    [(512, 100, 512, False), (None, 300, 384, False), (None, None, 1024, True)],
)
def test_how_large_the_first_container_is(asked_mb, peak_mb, memory_mb, measures):
    start = start_of(asked_mb, SIZES, peak_mb)
    assert (start.memory_mb, start.measures) == (memory_mb, measures)


@pytest.mark.parametrize("asked_mb", [64, 4096])
def test_memory_that_no_container_may_have_is_refused(asked_mb):
    with pytest.raises(UsageError, match="between 128 and 2048 MB"):
        start_of(asked_mb, SIZES, None)


def test_sizes_are_what_platform_and_user_allow():
    sizes = Sizes.of(CAPACITY, Limits(memory_max_mb=1000, pool_memory_mb=700, timeout_max_s=90))
    assert (sizes.least_mb, sizes.most_mb, sizes.pool_mb, sizes.timeout_s) == (128, 700, 700, 90)
    with pytest.raises(InsufficientMemory, match="--memory-max"):
        Sizes.of(CAPACITY, Limits(memory_max_mb=100))


def test_what_an_app_took_is_remembered_by_place_and_app():
    keep_peak(None, "me/app", 321)
    assert read_peak(None, "me/app") == 321
    assert read_peak("https://elsewhere", "me/app") is None
    assert read_peak(None, "me/other") is None


def letter(message):
    return Letter(
        message=message,
        partition=0,
        type="train",
        round=1,
        expires_s=0,
        digest="",
        sent_bytes=0,
        packed="",
    )


def test_replies_are_given_once_and_ids_that_are_not_known_are_told():
    async def work():
        mailbox = Mailbox()
        first, second, third = letters = [letter(name) for name in ("a", "b", "c")]
        for one in letters:
            mailbox.add(one)
        assert await mailbox.pull(["a", "b"], 0.0) == []
        second.settle(b"reply")
        third.settle(error=(8, "lost"))
        ready = await mailbox.pull(["a", "b", "c", "z"], 5.0)
        assert [name for name, _ in ready] == ["b", "c", "z"]
        head, body = answer(4, ready)
        assert body == b"reply"
        assert head["replies"] == [
            {"message": "b", "size": 5},
            {"message": "c", "size": 0, "code": 8, "reason": "lost"},
            {"message": "z", "size": 0},
        ]
        assert await mailbox.pull(["b"], 0.0) == [("b", None)]
        asyncio.get_running_loop().call_later(0.01, first.settle, b"late")
        assert [name for name, _ in await mailbox.pull(["a"], 60.0)] == ["a"]

    asyncio.run(work())
