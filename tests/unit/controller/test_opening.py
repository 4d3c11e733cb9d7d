"""A session that opens before it is needed."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from disdel.controller.opening import Opening
from disdel.controller.planning.networks import likely_image
from disdel.controller.training import train
from disdel.errors import InsufficientMemory, UsageError
from disdel.settings import Settings
from disdel.types import TrainJob
from disdel.user_code.collecting import collect


class House:
    """Counts what is open, and what a platform is told to expect."""

    def __init__(self, failure=None, stays_shut=False):
        self.open, self.expected = 0, []
        self.tried = asyncio.Event()
        self.failure, self.stays_shut = failure, stays_shut

    @asynccontextmanager
    async def session(self):
        self.open += 1
        try:
            self.tried.set()
            if self.failure:
                raise self.failure
            if self.stays_shut:
                await asyncio.Event().wait()
            yield SimpleNamespace(platform=self)
        finally:
            self.open -= 1

    def expect(self, image):
        self.expected.append(image)


def test_it_is_opened_once_and_closed_at_the_end():
    async def work():
        house = House()
        async with Opening(house.session) as opening:
            assert not house.open
            await asyncio.to_thread(opening.begin, "runtime-torch")
            await house.tried.wait()
            session = await opening.session()
            assert session is await opening.session()
            assert (house.open, house.expected) == (1, ["runtime-torch"])
        assert not house.open
        opening.begin()
        await asyncio.sleep(0)
        assert not house.open

    asyncio.run(work())


def test_nobody_need_begin_it():
    async def work():
        house = House()
        async with Opening(house.session) as opening:
            await opening.session()
            assert (house.open, house.expected) == (1, [])
        async with Opening(house.session):
            pass
        assert not house.open

    asyncio.run(work())


@pytest.mark.parametrize("asked", [True, False])
def test_what_is_wrong_with_it_is_told_to_who_asks_for_it(asked):
    async def work():
        house = House(failure=UsageError("no platform"))
        async with Opening(house.session) as opening:
            opening.begin()
            await house.tried.wait()
            if asked:
                await opening.session()
        assert not house.open

    if asked:
        with pytest.raises(UsageError, match="no platform"):
            asyncio.run(work())
    else:
        asyncio.run(work())


def test_one_that_nobody_needs_any_more_is_not_waited_for():
    async def work(house):
        async with Opening(house.session) as opening:
            opening.begin()
            await house.tried.wait()
            raise UsageError("no such network")

    house = House(stays_shut=True)
    with pytest.raises(UsageError, match="no such network"):
        asyncio.run(work(house))
    assert not house.open


@pytest.mark.parametrize(
    ("imports", "runtime", "image"),
    [
        ("keras", None, "disdel/runtime-tensorflow:latest"),
        ("torch", None, "disdel/runtime-torch:latest"),
        ("torch, keras", None, None),
        ("math", None, None),
        ("torch, keras", "torch", "disdel/runtime-torch:latest"),
        ("keras", "compiled", None),
    ],
)
def test_the_image_of_a_network_of_ones_own_is_told_by_its_imports(
    tmp_path, imports, runtime, image
):
    (tmp_path / "net.py").write_text(f"import {imports}\ndef make(): ...\n")
    code = collect(f"{tmp_path}/net.py:make")
    settings = Settings(image_prefix="disdel/", image_tag="latest")
    assert likely_image(TrainJob(dataset="digits", runtime=runtime), code, settings) == image


class Begun:
    """A platform that was begun ahead."""

    def __init__(self, capacity):
        self.capacity, self.expected = capacity, []

    def foreseen(self, settings):
        return self.capacity

    def expect(self, image):
        self.expected.append(image)


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        ("tensorflow", [Settings().image("runtime-tensorflow")]),
        # Without an image, the kind of the platform's own Python.
        ("compiled", ["python:3.11"]),
    ],
)
def test_a_platform_that_starts_is_told_what_the_plan_will_take(monkeypatch, runtime, expected):
    plan = SimpleNamespace(runtime=runtime)
    monkeypatch.setattr(train, "plan_by_sizes", lambda questions: (questions, plan))
    allowed, asked = SimpleNamespace(kinds=("python:3.10", "python:3.11")), []
    begun = Begun(allowed)
    train._expect(begun, lambda *about: asked.append(about) or [], Settings())
    assert begun.expected == expected
    assert asked == [(allowed, Settings())]


def test_one_whose_limits_nobody_knows_yet_is_told_nothing():
    begun = Begun(None)
    train._expect(begun, lambda *about: pytest.fail(f"planned with {about}"), Settings())
    assert begun.expected == []


def test_what_is_wrong_with_a_job_is_told_where_it_is_planned():
    def refuse(capacity, settings):
        raise InsufficientMemory(f"{capacity} {settings}")

    begun = Begun("little")
    train._expect(begun, refuse, Settings())
    assert begun.expected == []
