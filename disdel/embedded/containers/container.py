"""One container: a process group behind the action proxy, from start to removal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from disdel.container_memory import STATE_ENV
from disdel.embedded.containers.isolation import CONTAINER_ENV, Cell, Enforcement
from disdel.embedded.containers.logs import Log, LogCollector, Marks
from disdel.embedded.limits import MAX_LOGS_MB, MAX_PAYLOAD_BYTES
from disdel.units import MIB

PEAK_HEADER = "x-disdel-peak-memory-bytes"
# Where the proxy keeps the readings of its memory monitor, in the container's folder.
READINGS = "memory-reading.json"
LOG_MARK_ENV = "DISDEL_LOG_MARK"
OPEN_FILES = 1024
_LISTEN_BACKLOG = 16
_REMOVE_PAUSE_S = 0.005
_REMOVE_DEADLINE_S = 5.0

Outcome = Literal["answered", "timeout", "out-of-memory", "lost", "refused"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request to the proxy.

    `size_bytes` is the length that the answer declared, of which `body` holds at most what a
    result may have. "refused" means that the container was not listening at all.
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


class Container:
    """A running container. Use `Container.start`, and `destroy` in the end."""

    def __init__(
        self,
        spec: ContainerSpec,
        cell: Cell,
        process: asyncio.subprocess.Process,
        port: int,
        client: httpx.AsyncClient,
    ) -> None:
        self.spec = spec
        self.initialized = False
        self.memory_mb = spec.memory_mb
        self._cell = cell
        self._process = process
        self._client = client
        self._url = f"http://127.0.0.1:{port}"
        self._logs = LogCollector(MAX_LOGS_MB * MIB, spec.marks)
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = (
            asyncio.create_task(self._logs.read("stdout", process.stdout)),
            asyncio.create_task(self._logs.read("stderr", process.stderr)),
        )

    @classmethod
    async def start(
        cls, spec: ContainerSpec, enforcement: Enforcement, client: httpx.AsyncClient
    ) -> Container:
        """Start the proxy in a new cell; it may be called at once, its socket is already open.

        Raises:
            OSError: no process, folder or cgroup can be made.
        """
        spec.folder.mkdir()
        cell = enforcement.cell(spec.id, spec.memory_mb * MIB, spec.folder)
        try:
            with socket.create_server(("127.0.0.1", 0), backlog=_LISTEN_BACKLOG) as listener:
                process = await cls._spawn(spec, cell, listener.fileno())
                port = listener.getsockname()[1]
        except BaseException:
            cell.remove()
            raise
        cell.watch(process.pid)
        return cls(spec, cell, process, port, client)

    @staticmethod
    async def _spawn(spec: ContainerSpec, cell: Cell, fd: int) -> asyncio.subprocess.Process:
        proxy = [*spec.proxy, "--fd", str(fd)]
        limited = ["/bin/sh", "-c", 'ulimit -n "$0"; exec "$@"', str(OPEN_FILES), *proxy]
        home = str(spec.folder)
        return await asyncio.create_subprocess_exec(
            *cell.entering(limited),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(fd,),
            cwd=home,
            start_new_session=True,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": home,
                "TMPDIR": home,
                "LANG": "C.UTF-8",
                "DISDEL_PARENT_PID": str(os.getpid()),
                CONTAINER_ENV: spec.id,
                LOG_MARK_ENV: spec.marks.secret,
                STATE_ENV: str(spec.folder / READINGS),
                **cell.env,
                **spec.env,
            },
        )

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
                answer = await self._exchange(path, body)
        except TimeoutError:
            return reply("timeout")
        except httpx.ConnectError:
            return reply("out-of-memory" if self._cell.oom_killed() else "refused")
        except httpx.HTTPError:
            return reply("out-of-memory" if self._cell.oom_killed() else "lost")
        elapsed_ms = round((time.monotonic() - begun) * 1000)
        return reply("timeout") if elapsed_ms >= timeout_ms else reply("answered", **answer)

    async def _exchange(self, path: str, body: bytes) -> dict[str, Any]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        request = self._client.stream("POST", self._url + path, content=body, headers=headers)
        async with request as response:
            kept = bytearray()
            async for chunk in response.aiter_raw():
                kept += chunk[: MAX_PAYLOAD_BYTES - len(kept)]
            peak = response.headers.get(PEAK_HEADER)
            return {
                "status": response.status_code,
                "body": bytes(kept),
                "size_bytes": int(response.headers.get("content-length", len(kept))),
                "peak_bytes": int(peak) if peak else None,
            }

    async def warmed_up(self) -> None:
        """Return when the proxy serves requests, which it does once it has its modules imported.

        Raises:
            httpx.HTTPError: the container has ended.
        """
        await self._client.get(self._url)

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
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._cell.kill()

    async def destroy(self) -> None:
        """Kill the container and leave nothing of it behind.

        What the kernel does not let go of in time is left to the platform's own end.
        """
        self.kill()
        await self._process.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REMOVE_DEADLINE_S):
                while not self._cell.remove():
                    await asyncio.sleep(_REMOVE_PAUSE_S)
                await asyncio.gather(*self._readers)
        await asyncio.to_thread(shutil.rmtree, self.spec.folder, ignore_errors=True)
