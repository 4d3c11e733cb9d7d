"""The platform of functions behind URLs, on the servers that its platforms use."""

import asyncio
import contextlib
import os
import signal
import threading
from collections import Counter

import psutil
import pytest

from disdel.platforms.http.provider import PROVIDER
from disdel.settings import Settings
from tests.contract.test_executors import ACTIONS, ENDINGS, ended_otherwise
from tests.contract.test_platform import action
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
            await platform.create_action("p", ACTIONS["act"])
            await platform.create_action("p", ACTIONS["quick"])
            await platform.create_action("p", ACTIONS["broken"])
            return await use(platform)

    return asyncio.run(body())


def test_functions_keep_the_contract(both):
    async def use(platform):
        many = await asyncio.gather(*(platform.invoke("p", "act", {"n": n}) for n in range(20)))
        ended = await ended_otherwise(platform)
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


COUNTED = """
import time

def main(args):
    with open(args["file"], "a") as file:
        file.write(f"{args['n']} ")
    time.sleep(args["sleep"])
    return {"n": args["n"]}
"""
# Of a whole instance; and of the process that serves, which then answers what it has begun.
ENDED = [*((server, signal.SIGKILL) for server in SERVERS), (SERVERS[0], signal.SIGTERM)]


@pytest.mark.parametrize(("server", "sent"), ENDED)
def test_an_instance_that_is_ended_loses_no_call(server, sent, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "ended").mkdir()
    begun = tmp_path / "begun"
    with served(server, tmp_path / "kept") as kept, served(server, tmp_path / "ended") as ended:

        def end():
            wait_until(ended.children)
            children = ended.children()
            if sent == signal.SIGKILL:
                # Servers fork their workers.
                os.kill(children[0].ppid(), signal.SIGKILL)
            ended.process.send_signal(sent)

        async def use(platform):
            await platform.create_action("p", action(name="counted", main=COUNTED))
            told = {"file": str(begun), "sleep": 0.2}
            calls = (platform.invoke("p", "counted", {"n": n, **told}) for n in range(10))
            return await asyncio.gather(*calls)

        ending = threading.Thread(target=end)
        ending.start()
        records = using([kept, ended], use)
        ending.join()
    assert [each.result["n"] for each in records] == list(range(10))
    # Each once, and what was lost once more.
    times = Counter(begun.read_text().split())
    assert len(times) == 10
    assert sum(times.values()) <= 12
