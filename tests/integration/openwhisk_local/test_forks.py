"""Containers that are forked off one process, which has imported what they need."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from disdel.platforms.embedded.launching import begin_embedded
from disdel.platforms.embedded.options import EmbeddedOptions
from openwhisk_local.containers.container import Container, ContainerSpec, common_environment
from openwhisk_local.containers.images import image_of_key
from openwhisk_local.containers.isolation import CONTAINER_ENV, Enforcement, open_enforcement
from openwhisk_local.containers.logs import Marks
from openwhisk_local.containers.namespaces import Isolation, ProcessGroups, open_isolation
from openwhisk_local.containers.templates import MAX_LOST, Template, Templates
from openwhisk_local.proxies import lay_proxies
from openwhisk_local.records import read_records
from tests.support.embedded import (
    OURS,
    assert_nothing_left,
    containers,
    marks,
    platform,
    template,
)
from tests.support.processes import has_ended
from tests.support.waiting import wait_until, wait_until_none

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")

MIB = 1 << 20
MEMORY_MB = 256
LOOK = """
import os, random, signal, sys, tempfile, uuid
import numpy
from container_memory import find_cgroup, read_memory

def descriptors():
    for number in os.listdir('/proc/self/fd'):
        try: name = os.readlink(f'/proc/self/fd/{number}').partition(':')[0]
        except OSError: continue
        # Its monitor has its cgroup open, or will have.
        if not name.startswith('/sys/fs/cgroup/'): yield name

def main(args):
    return {
        'used': read_memory(find_cgroup()).used_bytes,
        'descriptors': sorted(descriptors()),
        'environment': dict(os.environ),
        'drawn': [random.random(), numpy.random.rand(), uuid.uuid4().hex],
        'temporary': tempfile.gettempdir(),
        'arguments': sys.argv[1:2],
        'main': sys.modules['__main__'].__file__,
        'streams': [repr(sys.stdout), repr(sys.stderr), sys.stdout.errors, sys.stdout.seekable()],
        'signals': [str(signal.getsignal(number)) for number in (signal.SIGCHLD, signal.SIGPIPE)],
        'processes': sum(name.isdigit() for name in os.listdir('/proc')),
    }
"""
# How often the memory that it can write to holds a word, which it is told in two parts.
FIND = """
import re
def main(args):
    word = re.compile(f"[{args['letter']}]{args['rest']}".encode())
    found = 0
    for line in open('/proc/self/maps'):
        bounds, permissions = line.split()[:2]
        start, end = (int(bound, 16) for bound in bounds.split('-'))
        if permissions.startswith('rw') and '[v' not in line:
            with open('/proc/self/mem', 'rb', 0) as memory:
                memory.seek(start)
                found += len(word.findall(memory.read(end - start)))
    return {'found': found}
"""
WAIT = """
import os, time
def main(args):
    open(args['started'], 'w').close()
    while not os.path.exists(args['until']): time.sleep(0.01)
    return {'done': True}
"""


class House:
    """What containers need, without a platform."""

    def __init__(self, folder: Path, enforcement: Enforcement) -> None:
        self.proxy = lay_proxies(folder / "proxy")["python"]
        self.containers = folder / "containers"
        self.containers.mkdir()
        self.enforcement = enforcement
        self.isolation: Isolation = open_isolation(self.containers, folder / "proxy")
        image = image_of_key(OURS)
        assert image is not None
        self.image = image
        self.common = common_environment(self.isolation.home(self.containers))
        self._made = 0

    async def template(self, *modules: str, **env: str) -> Template:
        mark = {CONTAINER_ENV: "house-template"}
        return await Template.start(
            self.proxy, modules, {**self.common, **self.image.env, **mark, **env}
        )

    @asynccontextmanager
    async def container(
        self, code: str, template: Template | None, **env: str
    ) -> AsyncIterator[Callable[..., Awaitable[dict[str, Any]]]]:
        """A container with that code; what is yielded runs it."""
        self._made += 1
        spec = ContainerSpec(
            id=f"house-{self._made}",
            marks=Marks("mark"),
            memory_mb=MEMORY_MB,
            env={**self.image.env, **env},
            proxy=self.proxy,
            folder=self.containers / f"house-{self._made}",
        )
        container = await Container.start(spec, self.enforcement, self.isolation, template)
        try:
            init = {"value": {"code": code, "main": "main"}}
            reply = await container.post("/init", json.dumps(init).encode(), 60_000)
            assert reply.status == 200, reply

            async def run(**arguments: Any) -> dict[str, Any]:
                body = json.dumps({"value": arguments}).encode()
                reply = await container.post("/run", body, 60_000)
                assert reply.status == 200, reply
                return json.loads(reply.body)

            yield run
        finally:
            await container.destroy()


def in_house(
    folder: Path, work: Callable[[House], Awaitable[None]], *, only_sampling: bool = False
) -> None:
    """Do `work` where containers can be forked."""

    async def run() -> None:
        enforcement = open_enforcement(f"test-{os.getpid()}", only_sampling=only_sampling)
        try:
            house = House(folder, enforcement)
            if not house.isolation.unshared:
                pytest.skip("no namespaces can be made here")
            await work(house)
        finally:
            enforcement.close()

    asyncio.run(run())


@pytest.mark.parametrize("only_sampling", [False, True])
def test_a_forked_container_is_like_one_that_starts_by_itself(
    tmp_path: Path, only_sampling: bool
) -> None:
    async def work(house: House) -> None:
        parent = await house.template("numpy.random")
        assert await parent.refusal() == ""
        seen = []
        for each in (None, parent, parent):
            async with house.container(LOOK, each) as run:
                seen.append(await run())
        await parent.close()
        alone, first, second = seen
        # Memory that is shared with the parent would not be counted; numpy has more than 10 MB.
        assert abs(first["used"] - alone["used"]) < 4 * MIB
        assert first["used"] > 10 * MIB
        # Each draws its own numbers.
        for ours, others in zip(first["drawn"], second["drawn"], strict=True):
            assert ours != others
        for own in ("used", "drawn", "environment"):
            environments = [facts.pop(own) for facts in (alone, first)]
        names = [set(environment) for environment in environments]
        # The shell that starts it sets these.
        assert names[0] - {"PWD", "OLDPWD", "SHLVL", "_"} == names[1]
        assert first == alone

    in_house(tmp_path, work, only_sampling=only_sampling)


def test_nothing_of_one_container_reaches_another(tmp_path: Path) -> None:
    """Not by the process that both are forked off: it holds nothing of either."""
    word = "a_word_of_one_container_alone"
    parts = {"letter": word[0], "rest": word[1:]}

    async def work(house: House) -> None:
        parent = await house.template("numpy.random")
        threads = psutil.Process(parent.pid).num_threads()
        async with house.container(LOOK, parent, SECRET=word) as run:
            seen = await run(argument=word)
            assert seen["environment"]["SECRET"] == word
            async with house.container(FIND, parent) as other:
                assert await other(**parts) == {"found": 0}
            async with house.container(FIND, parent, SECRET=word) as itself:
                assert (await itself(**parts))["found"] > 0
        assert threads == psutil.Process(parent.pid).num_threads() == 1
        opened = psutil.Process(parent.pid).num_fds()
        async with house.container(LOOK, parent):
            assert psutil.Process(parent.pid).num_fds() == opened
        await parent.close()

    in_house(tmp_path, work)


def test_containers_live_on_without_the_process_they_were_forked_off(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        parent = await house.template()
        started, until = tmp_path / "started", tmp_path / "until"
        async with house.container(WAIT, parent) as run:
            running = asyncio.create_task(run(started=str(started), until=str(until)))
            await asyncio.to_thread(wait_until, started.exists)
            os.kill(parent.pid, signal.SIGKILL)
            await parent.close()
            until.touch()
            assert await running == {"done": True}
        # It is started by itself then.
        async with house.container(LOOK, parent) as run:
            assert (await run())["processes"] == 2

    in_house(tmp_path, work)


@pytest.mark.parametrize(
    ("needed", "modules", "why"),
    [
        ("numpy", ("starts_a_thread",), "has started threads, 1 beside the first one"),
        ("numpy,not_installed", (), "not_installed cannot be imported"),
        ("ends_the_process", (), "the process ended with status 3"),
    ],
)
def test_what_cannot_be_forked_is_said(
    tmp_path: Path, needed: str, modules: tuple[str, ...], why: str
) -> None:
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    )
    (tmp_path / "ends_the_process.py").write_text("import os\nos._exit(3)\n")

    async def work(house: House) -> None:
        env = {"PYTHONPATH": str(tmp_path), "DISDEL_PREIMPORT": needed}
        parent = await house.template(*modules, **env)
        assert why in await parent.refusal()
        await parent.close()

    in_house(tmp_path, work)


def test_one_that_is_lost_is_started_again_so_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(house: House) -> None:
        templates = Templates("house", house.proxy, house.common, house.isolation)
        pids = set()
        for _ in range(MAX_LOST):
            parent = await templates.of(OURS)
            assert parent is not None
            assert await templates.of(OURS) is parent
            pids.add(parent.pid)
            killed = psutil.Process(parent.pid)
            killed.kill()
            await asyncio.to_thread(wait_until, partial(has_ended, killed))
            while parent.alive:
                await asyncio.sleep(0)
        assert len(pids) == MAX_LOST
        with caplog.at_level(logging.WARNING):
            assert await templates.of(OURS) is None
        assert f"it was lost {MAX_LOST} times" in caplog.text
        await templates.close()

    in_house(tmp_path, work)


def test_one_that_nobody_needs_ends(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        templates = Templates("house", house.proxy, house.common, house.isolation, idle_s=0.2)
        parent = await templates.of(OURS)
        assert parent is not None
        async with asyncio.timeout(60):
            while parent.alive:
                await asyncio.sleep(0.01)
        again = await templates.of(OURS)
        assert again is not None
        assert again is not parent
        await templates.close()
        assert not again.alive

    in_house(tmp_path, work)


def test_without_namespaces_nothing_is_forked(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        templates = Templates("house", house.proxy, house.common, ProcessGroups())
        assert await templates.of(OURS) is None
        await templates.close()

    in_house(tmp_path, work)


def test_a_platform_prepares_for_what_is_expected(tmp_path: Path) -> None:
    with begin_embedded(EmbeddedOptions(state_dir=tmp_path)) as begun:
        begun.expect("nobody/has-it")
        begun.expect(OURS)
        begun.wait_until_ready()
        [record] = read_records(tmp_path)
        if "namespaces" not in record.isolation:
            pytest.skip("no namespaces can be made here")
        assert set(wait_until(lambda: marks(record))) == {template(record)}
    assert_nothing_left(record, tmp_path)


def test_one_that_is_not_waited_for_leaves_nothing(tmp_path: Path) -> None:
    begin_embedded(EmbeddedOptions(state_dir=tmp_path)).close()
    assert not [*(tmp_path / "platforms").iterdir()]


def test_a_platform_takes_them_along(tmp_path: Path) -> None:
    with platform(tmp_path / "state", user_memory_mb=512) as user:
        if "namespaces" not in user.record.isolation:
            pytest.skip("no namespaces can be made here")
        user.put("looks", LOOK, image=OURS)
        assert user.invoke("looks").json()["response"]["success"]
        # The template, and what stays outside of the container and is its first process inside.
        wait_until(lambda: marks(user.record).count(template(user.record)) == 3)
        os.kill(user.record.pid, signal.SIGKILL)
        wait_until_none(lambda: containers(user.record))
        with platform(tmp_path / "state"):
            pass
