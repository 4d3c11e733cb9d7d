"""One container: a process group behind the action proxy, from start to removal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from openwhisk_local.containers.channel import Channel, ChannelLost, ChannelUnread
from openwhisk_local.containers.container_forks import Order
from openwhisk_local.containers.folders import remove_folder
from openwhisk_local.containers.isolation import CONTAINER_ENV, Cell, Enforcement
from openwhisk_local.containers.logs import STREAMS, Log, LogCollector, Marks
from openwhisk_local.containers.namespaces import OPEN_FILES, Isolation
from openwhisk_local.containers.outlets import Outlet
from openwhisk_local.containers.templates import ForkedContainer, NotForked, Template
from openwhisk_local.limits import MAX_LOGS_MB, MAX_PAYLOAD_BYTES
from openwhisk_local.machine.container_memory import STATE_ENV
from openwhisk_local.units import MIB

PEAK_HEADER = "x-disdel-peak-memory-bytes"
# Where the proxy keeps the readings of its memory monitor, in the container's folder.
READINGS = "memory-reading.json"
LOG_MARK_ENV = "DISDEL_LOG_MARK"
# For what is imported before the first request.
WARM_UP_DEADLINE_S = 120.0
_REMOVE_PAUSE_S = 0.005
_REMOVE_DEADLINE_S = 5.0
_REMOVE_FOLDER_DEADLINE_S = 30.0
# From the proxy's end to that of its channel, which a process that it has forked may still hold.
_LAST_WORDS_S = 0.5

_BYTES = re.compile(r"[0-9]{1,18}")

_LOG = logging.getLogger(__name__)

Outcome = Literal["answered", "timeout", "out-of-memory", "lost", "refused"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request to the proxy.

    `size_bytes` is the length of the answer, of which `body` holds at most what a result may have.
    "refused" means that the container has not had the request.
    """

    outcome: Outcome
    elapsed_ms: int
    status: int = 0
    body: bytes = b""
    size_bytes: int = 0
    peak_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """What a container is made from; `proxy` is the command that serves it.

    `marks` are what the proxy writes around the output of each activation.
    """

    id: str
    marks: Marks
    memory_mb: int
    env: Mapping[str, str]
    proxy: tuple[str, ...]
    folder: Path


class Process(Protocol):
    """What ends with a container: a child of the platform, or of a template."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...


class Container:
    """A running container. Use `Container.start`, and `destroy` in the end."""

    def __init__(
        self,
        spec: ContainerSpec,
        cell: Cell,
        isolation: Isolation,
        process: Process,
        channel: Channel,
        logs: LogCollector,
        outlets: tuple[Outlet, ...],
    ) -> None:
        self.spec = spec
        self.initialized = False
        self.memory_mb = spec.memory_mb
        self._cell = cell
        self._isolation = isolation
        self._process = process
        self._channel = channel
        self._logs = logs
        self._outlets = outlets
        self._exit = asyncio.create_task(self._hang_up())

    @classmethod
    async def start(
        cls,
        spec: ContainerSpec,
        enforcement: Enforcement,
        isolation: Isolation,
        template: Template | None = None,
    ) -> Container:
        """Start the proxy in a new cell; it may be called at once, its channel is already open.

        Args:
            spec: what it is made from.
            enforcement: makes its cell.
            isolation: what else keeps it apart.
            template: to fork it off; without one, or where that fails, it starts by itself.

        Raises:
            OSError: no process, folder or cgroup can be made.
        """
        spec.folder.mkdir()
        logs = LogCollector(MAX_LOGS_MB * MIB, spec.marks)
        with contextlib.ExitStack() as inherited, contextlib.ExitStack() as undo:
            undo.callback(remove_folder, spec.folder)
            cell = enforcement.cell(spec.id, spec.memory_mb * MIB, spec.folder)
            undo.callback(cell.remove)
            outlets, descriptors = [], []
            for stream in STREAMS:
                outlet, descriptor = await Outlet.open(logs, stream)
                inherited.callback(os.close, descriptor)
                undo.callback(outlet.close)
                outlets.append(outlet)
                descriptors.append(descriptor)
            ours, theirs = socket.socketpair()
            inherited.enter_context(theirs)
            channel = await Channel.open(ours)
            undo.callback(channel.close)
            ends = [*descriptors, theirs.fileno()]
            forked = template and await cls._fork(spec, cell, isolation, template, ends)
            process = forked or await cls._spawn(spec, cell, isolation, ends)
            undo.pop_all()
        cell.watch(process.pid, forked.uncounted if forked else ())
        return cls(spec, cell, isolation, process, channel, logs, tuple(outlets))

    @staticmethod
    async def _spawn(
        spec: ContainerSpec, cell: Cell, isolation: Isolation, ends: list[int]
    ) -> asyncio.subprocess.Process:
        stdout, stderr, fd = ends
        proxy = [*spec.proxy, "--fd", str(fd)]
        return await asyncio.create_subprocess_exec(
            *isolation.entering(proxy, cell.procs),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(fd,),
            cwd=spec.folder,
            start_new_session=True,
            env=_environment(spec, cell, isolation),
        )

    @staticmethod
    async def _fork(
        spec: ContainerSpec, cell: Cell, isolation: Isolation, template: Template, ends: list[int]
    ) -> ForkedContainer | None:
        order = Order(
            namespaces=isolation.unshared,
            procs=[str(path) for path in cell.procs],
            open_files=OPEN_FILES,
            env=_environment(spec, cell, isolation),
            folder=str(spec.folder),
        )
        try:
            return await template.fork(order, ends)
        except NotForked as failed:
            _LOG.warning("container %s is not forked: %s", spec.id, failed)
            return None

    async def _hang_up(self) -> None:
        """End the channel with the process, whoever else may hold its other end."""
        await self._process.wait()
        await asyncio.sleep(_LAST_WORDS_S)
        self._channel.close()

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def post(self, path: Literal["/init", "/run"], body: bytes, timeout_ms: int) -> Reply:
        """Send one request and wait at most `timeout_ms`; never raises for what happens inside."""
        begun = time.monotonic()

        def reply(outcome: Outcome, **facts: Any) -> Reply:
            return Reply(outcome, round((time.monotonic() - begun) * 1000), **facts)

        try:
            async with asyncio.timeout(timeout_ms / 1000):
                answer = await self._channel.exchange(
                    "POST", path, body, keep_bytes=MAX_PAYLOAD_BYTES
                )
        except TimeoutError:
            return reply("timeout")
        except ChannelUnread:
            return reply("out-of-memory" if self._cell.oom_killed() else "refused")
        except ChannelLost:
            return reply("out-of-memory" if self._cell.oom_killed() else "lost")
        elapsed_ms = round((time.monotonic() - begun) * 1000)
        if elapsed_ms >= timeout_ms:
            return reply("timeout")
        peak = answer.headers.get(PEAK_HEADER, "")
        return reply(
            "answered",
            status=answer.status,
            body=bytes(answer.body),
            size_bytes=answer.size_bytes,
            # The action shares the proxy's process, and may have put anything there.
            peak_bytes=int(peak) if _BYTES.fullmatch(peak) else None,
        )

    async def warmed_up(self) -> None:
        """Return when the proxy serves requests, which it does once it has its modules imported.

        Raises:
            ConnectionError: the container has ended.
            TimeoutError: it is not ready in time.
        """
        try:
            async with asyncio.timeout(WARM_UP_DEADLINE_S):
                await self._channel.exchange("GET", "/")
        except TimeoutError:
            raise TimeoutError(
                f"container {self.spec.id} was not ready for its first request in "
                f"{WARM_UP_DEADLINE_S:g} s"
            ) from None

    def adopt(self, logs_bytes: int) -> None:
        """Become the container of an action, whose log may be that long."""
        self._logs.limit_bytes = logs_bytes

    @property
    def readings(self) -> Path:
        """The file in which the proxy's monitor keeps its latest reading."""
        return self.spec.folder / READINGS

    def grow_to(self, memory_mb: int) -> None:
        """Raise the memory limit; raises `OSError` where the kernel refuses."""
        self._cell.raise_limit(memory_mb * MIB)
        self.memory_mb = memory_mb

    async def take_log(self) -> Log:
        """The lines of the activation that just ended."""
        return await self._logs.take()

    def kill(self) -> None:
        """Kill every process of the container."""
        if self.alive:
            self._isolation.kill(self._process.pid)
        self._cell.kill()

    async def destroy(self) -> None:
        """Kill the container and leave nothing of it behind; never raises.

        What the kernel does not let go of in time is left to the platform's own end.
        """
        self.kill()
        try:
            async with asyncio.timeout(_REMOVE_DEADLINE_S):
                await self._process.wait()
                while not self._cell.remove():
                    await asyncio.sleep(_REMOVE_PAUSE_S)
                await asyncio.gather(*(outlet.ended() for outlet in self._outlets))
        except TimeoutError:
            _LOG.warning(
                "container %s: something of it still runs %g s after it was killed",
                self.spec.id,
                _REMOVE_DEADLINE_S,
            )
        self._exit.cancel()
        self._channel.close()
        for outlet in self._outlets:
            outlet.close()
        try:
            async with asyncio.timeout(_REMOVE_FOLDER_DEADLINE_S):
                await asyncio.to_thread(remove_folder, self.spec.folder)
        except TimeoutError:
            _LOG.warning(
                "container %s: its folder, %s, is not removed in %g s",
                self.spec.id,
                self.spec.folder,
                _REMOVE_FOLDER_DEADLINE_S,
            )


def _environment(spec: ContainerSpec, cell: Cell, isolation: Isolation) -> dict[str, str]:
    home = isolation.home(spec.folder)
    return {
        **common_environment(home),
        CONTAINER_ENV: spec.id,
        LOG_MARK_ENV: spec.marks.secret,
        STATE_ENV: str(home / READINGS),
        **isolation.env(spec.folder, spec.memory_mb),
        **cell.env(home),
        **spec.env,
    }


def common_environment(home: Path) -> dict[str, str]:
    """What all containers with that home have in their environment."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
    }
