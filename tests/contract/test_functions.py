"""The platform of functions behind URLs, on the servers that its platforms use."""

import asyncio
import contextlib
import os
import signal
import threading

import psutil
import pytest

from disdel.platforms.http.provider import PROVIDER
from disdel.settings import Settings
from tests.contract.test_executors import ENDINGS
from tests.contract.test_platform import BROKEN, action
from tests.support.functions import SERVERS, served
from tests.support.waiting import wait_until


@pytest.fixture(scope="module", params=SERVERS)
def both(request, tmp_path_factory):
    """Two instances."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(served(request.param, tmp_path_factory.mktemp("function")))
            for _ in range(2)
        ]


def using(instances, use):
    async def body():
        options = tuple(f"url={each.url}" for each in instances)
        async with PROVIDER.open(Settings(platform_options=options)) as opened:
            platform = opened.platform
            await platform.create_package("p", {"a": 1, "b": 2})
            await platform.create_action("p", action(parameters={"b": 3}))
            await platform.create_action("p", action(name="quick", timeout_s=3.0))
            await platform.create_action("p", action(name="broken", main=BROKEN))
            return await use(platform)

    return asyncio.run(body())


def test_functions_keep_the_contract(both):
    async def use(platform):
        many = await asyncio.gather(*(platform.invoke("p", "act", {"n": n}) for n in range(20)))
        ended = {e: await platform.invoke("p", *call) for e, call in ENDINGS.items()}
        return many, ended, await platform.invoke("p", "act", {})

    many, ended, after = using(both, use)
    assert [each.result["seen"] for each in many] == [{"a": 1, "b": 3, "n": n} for n in range(20)]
    assert all(each.logs == ("log line",) for each in many)
    assert sum(each.init_ms is not None for each in many) <= 2
    assert {name: each.ending for name, each in ended.items()} == {name: name for name in ENDINGS}
    assert any("no_such_module" in line for line in ended["not-started"].logs)
    assert after.ending == "success"
    assert not [child for each in both for child in each.children()]


def test_an_instance_that_was_frozen_after_its_answer_goes_on(both):
    """Platforms take the CPU away between two calls."""

    async def use(platform):
        first = await platform.invoke("p", "act", {})
        server = psutil.Process(both[0].process.pid)
        frozen = [server, *server.children(recursive=True)]
        for process in frozen:
            process.suspend()
        # Longer than a server keeps an idle connection for.
        await asyncio.sleep(5)
        for process in frozen:
            process.resume()
        return first, await platform.invoke("p", "act", {})

    first, second = using(both[:1], use)
    assert (first.ending, second.ending, second.init_ms) == ("success", "success", None)


@pytest.mark.parametrize("server", SERVERS)
def test_an_instance_that_is_killed_loses_no_call(server, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "killed").mkdir()
    with served(server, tmp_path / "kept") as kept, served(server, tmp_path / "killed") as killed:

        def kill():
            wait_until(killed.children)
            children = killed.children()
            # Servers fork their workers.
            os.kill(children[0].ppid(), signal.SIGKILL)
            killed.process.kill()

        async def use(platform):
            calls = (platform.invoke("p", "act", {"n": n, "sleep": 0.2}) for n in range(10))
            return await asyncio.gather(*calls)

        threading.Thread(target=kill).start()
        records = using([kept, killed], use)
    assert [each.result["seen"]["n"] for each in records] == list(range(10))
