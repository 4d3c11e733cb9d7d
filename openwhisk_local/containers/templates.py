"""The processes that containers are forked off, one an image, from the platform's side.

See `container_forks`. A template is started when the first container of its image is wanted, and
ends when none was wanted for some time. Where there can be no template, containers are started by
themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

from openwhisk_local.containers.container_forks import Order
from openwhisk_local.containers.images import Image, image_of_key
from openwhisk_local.containers.isolation import CONTAINER_ENV
from openwhisk_local.containers.namespaces import Isolation

READY_DEADLINE_S = 120.0
# Some milliseconds, on a machine that is not busy.
FORK_DEADLINE_S = 30.0
IDLE_S = 600.0
# Of one image, before its containers are started by themselves.
MAX_LOST = 3

_LINE_BYTES = 4096

_LOG = logging.getLogger(__name__)


class NotForked(Exception):
    """The template is gone, or the container could not be made."""


class ForkedContainer:
    """The process outside that ends with a container, for whoever is not its parent.

    Attributes:
        pid: of that process, which has a session of its own.
        uncounted: it and the first process inside, whose memory is the template's.
    """

    def __init__(self, pid: int, uncounted: tuple[int, ...], pidfd: int, order: socket.socket):
        self.pid = pid
        self.uncounted = uncounted
        self._pidfd = pidfd
        # While this is open the container lives.
        self._order = order
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pidfd, self._end)

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return 0 if self._ended.is_set() else None

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._order.close()
        self._ended.set()


class Template:
    """A process that has imported what an image's containers need, and forks them."""

    def __init__(
        self, process: asyncio.subprocess.Process, control: socket.socket, output: int
    ) -> None:
        self._process = process
        self._control = control
        self._output = output
        self._refusal = asyncio.create_task(self._hear())

    @classmethod
    async def start(
        cls, proxy: Iterable[str], modules: Iterable[str], env: Mapping[str, str]
    ) -> Template:
        """Start one; it imports beside what follows.

        Args:
            proxy: the command of the action proxy.
            modules: to import beside those that the proxy is told to by its environment.
            env: of its containers, but for what is one container's alone.

        Raises:
            OSError: no process can be made.
        """
        ours, theirs = socket.socketpair()
        # A pipe, as its containers have: Python's streams are made for what they are opened on.
        # Nobody reads it, since the proxy diverts what is written by imports.
        output, its_output = os.pipe()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(*proxy, "--forks", str(theirs.fileno()), "--preload", ",".join(modules)),
                    stdin=subprocess.DEVNULL,
                    stdout=its_output,
                    stderr=its_output,
                    pass_fds=(theirs.fileno(),),
                    # Not its own session, by which containers are known.
                    process_group=0,
                    env={**env, "DISDEL_PARENT_PID": str(os.getpid())},
                )
        except BaseException:
            ours.close()
            os.close(output)
            raise
        finally:
            os.close(its_output)
        ours.setblocking(False)
        return cls(process, ours, output)

    async def _hear(self) -> str:
        """Why it forks no containers; empty if it does."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(READY_DEADLINE_S):
                line = b""
                while not line.endswith(b"\n"):
                    chunk = await loop.sock_recv(self._control, _LINE_BYTES)
                    if not chunk:
                        return f"the process ended with status {await self._process.wait()}"
                    line += chunk
        except TimeoutError:
            return f"what it imports is not imported in {READY_DEADLINE_S:g} s"
        except OSError as error:
            return str(error)
        return str(json.loads(line)["refused"])

    async def refusal(self) -> str:
        """Why it forks no containers, once that is known; empty if it does."""
        return await asyncio.shield(self._refusal)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def fork(self, order: Order, descriptors: list[int]) -> ForkedContainer:
        """Have a container made.

        Args:
            order: what is asked for.
            descriptors: its stdout, its stderr and its end of the channel.

        Raises:
            NotForked: there is no such container.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                async with asyncio.timeout(FORK_DEADLINE_S):
                    socket.send_fds(self._control, [b"\0"], [theirs.fileno()])
                    # Gone from here: should the template end, so does the socket.
                    theirs.close()
                    wire = order.to_wire()
                    sent = socket.send_fds(ours, [wire], descriptors)
                    await asyncio.get_running_loop().sock_sendall(ours, wire[sent:])
                    facts, pidfd = await _reply(ours)
            pids = (facts["keeper"], facts["first"])
            return ForkedContainer(facts["keeper"], pids, pidfd, ours)
        except (OSError, TimeoutError) as error:
            ours.close()
            raise NotForked(str(error) or "no answer in time") from error
        except BaseException:
            ours.close()
            raise

    async def close(self) -> None:
        """End it; the containers stay."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        await self._refusal
        self._control.close()
        os.close(self._output)


async def _reply(end: socket.socket) -> tuple[dict[str, Any], int]:
    """What a keeper says, and its descriptor.

    Raises:
        OSError: it has failed.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(end, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(end)
    line, descriptors, _, _ = socket.recv_fds(end, _LINE_BYTES, 1)
    facts = json.loads(line) if line.endswith(b"\n") else {"failed": "the new process has ended"}
    if "failed" in facts:
        raise OSError(facts["failed"])
    return facts, descriptors[0]


class Templates:
    """The templates of a platform, by the image's key.

    Args:
        platform_id: begins the mark of every process.
        proxy: the command of the action proxy for Python.
        env: of every container, but for its image's and its own.
        isolation: how containers are kept apart: without namespaces none is forked.
        idle_s: how long a template that is not asked for a container lives.
    """

    def __init__(
        self,
        platform_id: str,
        proxy: tuple[str, ...],
        env: Mapping[str, str],
        isolation: Isolation,
        idle_s: float = IDLE_S,
    ) -> None:
        self._platform_id = platform_id
        self._proxy = proxy
        self._env = env
        self._idle_s = idle_s
        self._forks = bool(isolation.unshared)
        self._templates: dict[str, Template] = {}
        self._lost: dict[str, int] = {}
        self._ends: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._starting = asyncio.Lock()
        self._closed = False

    def expect(self, key: str) -> None:
        """Start the template of an image, of which containers will be wanted soon."""
        self._spawn(self.of(key))

    async def of(self, key: str) -> Template | None:
        """The template of an image, ready to fork; None where containers start by themselves."""
        image = image_of_key(key)
        if not self._forks or image is None or not image.preload:
            return None
        template = await self._running(key, image)
        if template is None:
            return None
        refusal = await template.refusal()
        if not refusal:
            self._keep(key)
            return template
        if self._templates.get(key) is template:
            self._give_up(key, refusal)
            await self._drop(key)
        return None

    async def _running(self, key: str, image: Image) -> Template | None:
        async with self._starting:
            template = self._templates.get(key)
            if template is not None and not template.alive and not await template.refusal():
                await self._drop(key)
                self._lost[key] = self._lost.get(key, 0) + 1
                if self._lost[key] >= MAX_LOST:
                    self._give_up(key, f"it was lost {MAX_LOST} times")
                template = None
            if template is None and not self._closed and self._lost.get(key, 0) < MAX_LOST:
                mark = {CONTAINER_ENV: f"{self._platform_id}-template"}
                try:
                    template = await Template.start(
                        self._proxy, image.preload, {**self._env, **image.env, **mark}
                    )
                except OSError as error:
                    self._give_up(key, str(error))
                    return None
                self._templates[key] = template
            return template

    def _give_up(self, key: str, why: str) -> None:
        self._lost[key] = MAX_LOST
        if not self._closed:
            _LOG.warning(
                "containers of %s import by themselves, which takes longer than to fork them off "
                "a process that has: %s",
                key,
                why,
            )

    def _keep(self, key: str) -> None:
        """End the template of `key` when it was not asked for in so long."""
        if key in self._ends:
            self._ends.pop(key).cancel()
        loop = asyncio.get_running_loop()
        self._ends[key] = loop.call_later(self._idle_s, lambda: self._spawn(self._drop(key)))

    async def _drop(self, key: str) -> None:
        if key in self._ends:
            self._ends.pop(key).cancel()
        template = self._templates.pop(key, None)
        if template is not None:
            await template.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all of them; containers that live go on."""
        self._closed = True
        async with self._starting:
            for key in [*self._templates]:
                await self._drop(key)
        await asyncio.gather(*self._tasks, return_exceptions=True)
