"""The client, which here is the platform: packages of actions, and the processes that run them."""

import asyncio
import io
import json
import os
import secrets
import sys
import tempfile
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from disdel.errors import ActivationLost, PlatformError, PlatformRejected
from disdel.platforms.base import ActionSpec, Platform, nowhere
from disdel.types import ActivationRecord
from disdel.types.units import MIB
from tests.support.process_platform.limits import CONCURRENCY, PAYLOAD_BYTES

_LOOK_S = 0.02
_HOST = Path(__file__).with_name("container.py")
# The longest line of an answer.
_LINE_BYTES = 4 * MIB


class Ended(Exception):
    """A container that answers no more.

    Attributes:
        ending: how, in the words of `ActivationRecord`.
    """

    def __init__(self, ending, why):
        super().__init__(why)
        self.ending = ending


@dataclass(eq=False)
class Container:
    """One process of an action, which runs one activation at a time."""

    spec: ActionSpec
    process: asyncio.subprocess.Process
    log: Path
    read: int = 0
    overran: bool = False

    async def begin(self):
        """Wait until its action can be called.

        Raises:
            Ended: it cannot.
        """
        if not (await self.answer(None, "start-time-limit"))["started"]:
            raise Ended("not-started", "its code could not be loaded; the log says why")

    async def answer(self, request, ending):
        """Its next line, within its limits.

        Raises:
            Ended: it went past one of them, of which `ending` is that of time, or has ended.
        """
        watching = asyncio.create_task(self._past_its_memory())
        try:
            if request is not None:
                self.process.stdin.write(json.dumps(request).encode() + b"\n")
                await self.process.stdin.drain()
            line = await asyncio.wait_for(self.process.stdout.readline(), self.spec.timeout_s)
        except TimeoutError:
            why = f"not done after {self.spec.timeout_s:g} s, so the process was ended"
            raise Ended(ending, why) from None
        except ConnectionError:
            line = b""
        finally:
            watching.cancel()
        if line:
            return json.loads(line)
        status = await self.process.wait()
        if self.overran:
            raise Ended("out-of-memory", f"the process grew past {self.spec.memory_mb} MB")
        raise Ended("vanished", f"the process ended by itself, with status {status}")

    async def _past_its_memory(self):
        """Kill the process when it holds more than its limit."""
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            seen = psutil.Process(self.process.pid)
            while not self.overran:
                use = seen.memory_info()
                if use.rss - getattr(use, "shared", 0) > self.spec.memory_mb * MIB:
                    self.overran = True
                    self.process.kill()
                await asyncio.sleep(_LOOK_S)

    def lines(self):
        """What it has printed since the last call."""
        text = self.log.read_bytes()
        new, self.read = text[self.read :], len(text)
        return tuple(new.decode(errors="replace").splitlines())

    async def end(self):
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@dataclass
class Action:
    spec: ActionSpec
    folder: Path
    idle: list[Container] = field(default_factory=list)


class Processes(Platform):
    def __init__(self, capacity):
        self._capacity = capacity
        self._folder = tempfile.TemporaryDirectory(prefix="processes-")
        self._packages = {}
        self._containers = set()
        self._logs = {}
        self._turn = asyncio.Semaphore(CONCURRENCY)

    async def capacity(self):
        return self._capacity

    async def create_package(self, package, parameters):
        await self.remove_package(package)
        self._packages[package] = (dict(parameters), {})

    async def create_action(self, package, action):
        most_mb = self._capacity.memory_max_mb
        if action.memory_mb > most_mb:
            raise PlatformRejected(
                f"{action.name} wants {action.memory_mb} MB, and a process has {most_mb} at most",
                status=400,
            )
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        await asyncio.to_thread(zipfile.ZipFile(io.BytesIO(action.code)).extractall, folder)
        self._packages[package][1][action.name] = Action(action, folder)

    async def invoke(self, package, action, arguments, *, timeout_s=60.0, begun=nowhere):
        parameters, actions = self._packages.get(package, ({}, {}))
        if action not in actions:
            raise PlatformRejected(f"there is no {package}/{action}", status=404)
        merged = {**parameters, **actions[action].spec.parameters, **arguments}
        if len(json.dumps(merged)) > PAYLOAD_BYTES:
            raise PlatformRejected(f"more than {PAYLOAD_BYTES} bytes for {action}", status=413)
        asked_s = time.time()
        async with self._turn:
            return await self._run(actions[action], merged, asked_s)

    async def _run(self, action, arguments, asked_s):
        activation_id, began_s = secrets.token_hex(16), time.time()
        warm = action.idle.pop() if action.idle else None
        container, init_s = warm, None
        try:
            if container is None:
                container = await self._start(action)
                await container.begin()
                init_s = time.time() - began_s
            environment = {
                "__OW_ACTIVATION_ID": activation_id,
                "__OW_DEADLINE": str(int((time.time() + action.spec.timeout_s) * 1000)),
            }
            request = {"arguments": arguments, "environment": environment}
            result = (await container.answer(request, "time-limit"))["result"]
            if (length := len(json.dumps(result))) > PAYLOAD_BYTES:
                result = {"error": f"{length} bytes answered, more than {PAYLOAD_BYTES}"}
            ending = "application-error" if "error" in result else "success"
        except Ended as ended:
            ending, result = ended.ending, {"error": str(ended)}
        except asyncio.CancelledError:
            await self._end(container)
            raise
        self._logs[activation_id] = container.lines()
        if ending in ("success", "application-error"):
            action.idle.append(container)
        else:
            await self._end(container)
        return ActivationRecord(
            id=activation_id,
            action=action.spec.name,
            start_ms=round(began_s * 1000),
            duration_ms=round((time.time() - began_s) * 1000),
            wait_ms=round((began_s - asked_s) * 1000),
            init_ms=None if init_s is None else round(init_s * 1000),
            ending=ending,
            result=result,
        )

    async def _start(self, action):
        log = Path(tempfile.mktemp(dir=self._folder.name, suffix=".log"))
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", str(_HOST), str(action.folder)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=file,
                limit=_LINE_BYTES,
                # By which an action sees how much it has left.
                env={**os.environ, "DISDEL_MEMORY_LIMIT_BYTES": str(action.spec.memory_mb * MIB)},
            )
        container = Container(action.spec, process, log)
        self._containers.add(container)
        return container

    async def _end(self, container):
        if container is not None:
            self._containers.discard(container)
            await container.end()

    async def record(self, package, action, activation_id, *, timeout_s, begun=nowhere):
        # Whoever invokes has the record, so it never gets lost.
        raise ActivationLost(f"no record of {activation_id}", activation_id=activation_id)

    async def logs(self, activation_id, *, within_s):
        if activation_id not in self._logs:
            raise PlatformError(f"no log of {activation_id}")
        return self._logs[activation_id]

    async def remove_package(self, package):
        _, actions = self._packages.pop(package, ({}, {}))
        for action in actions.values():
            while action.idle:
                await self._end(action.idle.pop())

    def hurry(self):
        """There is nothing to wait for."""

    async def close(self):
        for container in tuple(self._containers):
            await self._end(container)
        self._folder.cleanup()
