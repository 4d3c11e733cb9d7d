"""What the platform that several are makes at each of them."""

import asyncio

from disdel.platforms.base import ActionSpec
from disdel.platforms.fabric.client import Fabric, Member
from tests.support.fake_platform import CAPACITY, FakePlatform


def test_two_endpoints_in_one_namespace_have_actions_of_their_own():
    place = FakePlatform({"train": lambda arguments: {"store": arguments["store"]}})
    fabric = Fabric(
        [
            Member("left", place, CAPACITY, store="redis://left"),
            Member("right", place, CAPACITY, store="redis://right"),
        ]
    )

    async def run():
        await fabric.create_package("disdel-r", {"store": "redis://u:p@here"})
        for name, memory_mb in (("left", 256), ("right", 512)):
            spec = ActionSpec(
                name=f"train@{name}", code=b"", memory_mb=memory_mb, timeout_s=1, endpoint=name
            )
            await fabric.create_action("disdel-r", spec)
        answers = [
            (await fabric.invoke("disdel-r", f"train@{name}", {})).result["store"]
            for name in ("left", "right")
        ]
        sizes = sorted(action.memory_mb for action in place.actions.values())
        await fabric.remove_package("disdel-r")
        return answers, sizes

    answers, sizes = asyncio.run(run())
    assert answers == ["redis://u:p@left", "redis://u:p@right"]
    assert sizes == [256, 512]
    assert (place.packages, place.actions) == ({}, {})
