"""One platform over executors of every kind, each the real one.

Those of other packages run in environments of their own, where this file is run again.
"""

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path

import psutil
import pytest

from disdel.platforms.executor.provider import ExecutorProvider
from disdel.settings import Settings
from tests.contract.test_platform import BROKEN, action, invoked_in_time
from tests.support import executors
from tests.support.environments import is_in, python_of
from tests.support.waiting import wait_until_none

ENVIRONMENTS = {"executors": ("loky", "dask", "parsl"), "globus-compute": ("globus",)}
OTHERS = [
    pytest.param(
        kind,
        marks=pytest.mark.skipif(not is_in(name), reason=f"it runs in build/environments/{name}"),
    )
    for name, kinds in ENVIRONMENTS.items()
    for kind in kinds
]
ACTIONS = {
    "act": action(parameters={"b": 3}),
    "quick": action(name="quick", timeout_s=2.0),
    "broken": action(name="broken", main=BROKEN),
}
# Of each activation that ends otherwise: what it is called with, of which action.
ENDINGS = {
    "application-error": ("act", {"fail": True}),
    "vanished": ("act", {"exit": True}),
    "out-of-memory": ("act", {"eat": True}),
    "time-limit": ("quick", {"sleep": 60}),
    "not-started": ("broken", {}),
}


def children():
    """The processes of actions of this test, whose state directory they have."""
    own, found = os.environ["DISDEL_STATE_DIR"], []
    for process in psutil.process_iter(["cmdline"]):
        if any(part.endswith("entry/container.py") for part in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("DISDEL_STATE_DIR") == own:
                    found.append(process)
    return found


async def ended_otherwise(platform):
    """A record of each."""
    return {
        ending: await invoked_in_time(platform, "p", ACTIONS[name], arguments)
        for ending, (name, arguments) in ENDINGS.items()
    }


async def used(make):
    settings = Settings(platform_options=("memory_max=512",))
    async with ExecutorProvider(make).open(settings) as opened:
        platform = opened.platform
        capacity = await platform.capacity()
        await platform.create_package("p", {"a": 1, "b": 2})
        await platform.create_action("p", ACTIONS["act"])
        await platform.create_action("p", ACTIONS["quick"])
        await platform.create_action("p", ACTIONS["broken"])
        many = await asyncio.gather(*(platform.invoke("p", "act", {"n": n}) for n in range(20)))
        large = await platform.invoke("p", "act", {"x": "y" * 2_000_000})
        ended = await ended_otherwise(platform)
        after = await platform.invoke("p", "act", {})
        await platform.remove_package("p")
    return capacity, many, large, ended, after


@pytest.mark.parametrize("kind", ["threads", "processes", *OTHERS])
def test_an_executor_of_this_kind_keeps_the_contract(kind):
    capacity, many, large, ended, after = asyncio.run(used(getattr(executors, kind)))
    assert (capacity.concurrency, capacity.memory_max_mb) == (executors.WORKERS, 512)
    assert [record.result["seen"] for record in many] == [
        {"a": 1, "b": 3, "n": n} for n in range(20)
    ]
    assert all(record.logs == ("log line",) for record in many)
    # A worker keeps its child.
    assert 1 <= sum(record.init_ms is not None for record in many) <= executors.WORKERS
    assert len(large.result["seen"]["x"]) == 2_000_000
    assert {name: record.ending for name, record in ended.items()} == {
        name: name for name in ENDINGS
    }
    assert any("no_such_module" in line for line in ended["not-started"].logs)
    assert after.ending == "success"
    wait_until_none(children)


@pytest.mark.skipif(any(map(is_in, ENVIRONMENTS)), reason="it is in one")
def test_executors_of_other_packages():
    running = {
        kinds: subprocess.Popen(
            [
                *(python_of(name), "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__),
                *("-k", " or ".join(kinds)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for name, kinds in ENVIRONMENTS.items()
    }
    for kinds, process in running.items():
        said, _ = process.communicate()
        assert process.returncode == 0, said
        assert f"{len(kinds)} passed" in said
