from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from disdel.types.units import MIB
from openwhisk_local.containers.growth import INTERVAL_S, Growth

# In so many of the loop's turns who looks at all has looked again.
_TURNS = 20


class Container:
    def __init__(self, readings: Path, memory_mb: int = 256, *, refuses: bool = False) -> None:
        self.path = readings
        self.memory_mb = memory_mb
        self.refuses = refuses
        self.looks = 0

    async def looked(self, times: int) -> None:
        """Return after so many looks, or when nobody looks any more."""
        end, turns = self.looks + times, 0
        # Turns and no time: a machine that stands still makes one longer, and no look fewer.
        while self.looks < end and turns < _TURNS:
            before = self.looks
            await asyncio.sleep(INTERVAL_S)
            turns = 0 if self.looks > before else turns + 1

    @property
    def readings(self) -> Path:
        self.looks += 1
        return self.path

    def grow_to(self, memory_mb: int) -> None:
        if self.refuses:
            raise OSError("the kernel refuses")
        self.memory_mb = memory_mb


def watched(
    growth: Growth, container: Container, *readings: str, grants: bool = True, looks: int = 5
) -> list[int]:
    """What was asked for while the container's file held these texts, each for some looks."""
    asked: list[int] = []

    def grow(more_mb: int) -> bool:
        asked.append(more_mb)
        return grants

    async def run() -> None:
        async with growth.watching(container, grow):
            for text in readings:
                container.path.write_text(text)
                await container.looked(looks)

    asyncio.run(run())
    return asked


def reading(limit_mb: int, *, critical: bool = True) -> str:
    return json.dumps({"critical": critical, "limit_bytes": limit_mb * MIB})


def test_it_grows_by_steps_to_the_ceiling(tmp_path: Path) -> None:
    container = Container(tmp_path / "memory.json")
    asked = watched(Growth(700), container, reading(256), reading(512), reading(700))
    assert asked == [256, 188]
    assert container.memory_mb == 700


@pytest.mark.parametrize(
    "text",
    [
        reading(256, critical=False),
        reading(128),
        "",
        "[]",
        "{}",
        '{"critical": 1, "limit_bytes": 268435456}',
    ],
)
def test_it_grows_for_nothing_else(tmp_path: Path, text: str) -> None:
    assert watched(Growth(700), Container(tmp_path / "memory.json"), text) == []


@pytest.mark.parametrize(
    "put",
    [
        os.mkfifo,
        Path.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40),
    ],
)
def test_an_action_may_have_put_anything_there(tmp_path: Path, put: Callable) -> None:
    container = Container(tmp_path / "memory.json")
    put(container.path)

    async def run() -> None:
        async with Growth(700).watching(container, lambda _: True):
            await container.looked(5)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert container.memory_mb == 256


def test_what_was_written_before_is_not_about_this_activation(tmp_path: Path) -> None:
    container = Container(tmp_path / "memory.json")
    container.path.write_text(reading(256))
    os.utime(container.path, (1, 1))
    asked: list[int] = []

    async def run() -> None:
        async with Growth(700).watching(container, lambda mb: not asked.append(mb)):
            await container.looked(5)

    asyncio.run(run())
    assert asked == []


def test_it_is_off_at_zero(tmp_path: Path) -> None:
    assert watched(Growth(0), Container(tmp_path / "memory.json"), reading(256)) == []


def test_it_asks_again_when_refused(tmp_path: Path) -> None:
    container = Container(tmp_path / "memory.json")
    asked = watched(Growth(700), container, reading(256), reading(256), grants=False)
    assert len(asked) > 1
    assert container.memory_mb == 256


def test_a_kernel_that_refuses_ends_it(tmp_path: Path) -> None:
    container = Container(tmp_path / "memory.json", refuses=True)
    assert watched(Growth(700), container, reading(256), reading(256)) == [256]
