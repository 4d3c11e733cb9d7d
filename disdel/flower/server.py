"""The ServerApp's process, from outside: started, asked what the app is, and ended.

It is a group of processes of its own, which ends with this one: when the controller is done with
it, and, through its link, when the controller is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from disdel.errors import AppFailed, UsageError
from disdel.flower.frames import Frame, LinkLost, packed, receive_async
from disdel.types.flower import FlowerJob

# Of a reader's buffer: a model is read in pieces of it.
_BUFFER_BYTES = 4 << 20
# What a ServerApp that was told to end may still take.
_END_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFacts:
    """What the controller needs to know of an app (`app.App`).

    Attributes:
        fab_id: `publisher/name`.
        fab_version: its version.
        client_app: the reference of its ClientApp.
        run_config: its configuration.
        flwr: the version of Flower.
        nodes: Flower's ids of the nodes, by partition.
        contexts: their first Contexts, as Flower serialises them, in hexadecimal.
        files: what Flower takes along of it, as a zip.
    """

    fab_id: str
    fab_version: str
    client_app: str
    run_config: dict[str, bool | int | float | str]
    flwr: str
    nodes: list[str]
    contexts: list[str]
    files: bytes | bytearray


class Server:
    """The process, and the link to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()

    async def receive(self) -> Frame:
        """What it says next.

        Raises:
            AppFailed: it has ended without a word.
        """
        try:
            return await receive_async(self._reader)
        except LinkLost as error:
            status = await self._process.wait()
            raise AppFailed(f"the ServerApp's process {_how(status)}") from error

    async def send(self, head: Mapping[str, Any], body: bytes = b"") -> None:
        """Say something; to one that has ended, nothing."""
        async with self._sending:
            with contextlib.suppress(OSError):
                self._writer.write(packed(head, body))
                if body:
                    self._writer.write(body)
                await self._writer.drain()

    async def describe(self, job: FlowerJob, run: str) -> AppFacts:
        """What the app is.

        Args:
            job: names it.
            run: of which this run's ids in Flower are made.

        Raises:
            UsageError: Flower would not run it.
            AppFailed: the process has ended.
        """
        asked = {
            "app": str(job.app.absolute()),
            "run_config": list(job.run_config),
            "federation": job.federation,
            "num_supernodes": job.num_supernodes,
            "run": run,
        }
        await self.send(asked)
        frame = await self.receive()
        if frame.head["op"] == "refused":
            raise UsageError(frame.head["why"])
        facts = {name: value for name, value in frame.head.items() if name != "op"}
        return AppFacts(**facts, files=frame.body)

    async def ended(self) -> None:
        """Return when the process has, which has said so."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _END_S)


@asynccontextmanager
async def server_process(output: int | None) -> AsyncIterator[Server]:
    """A ServerApp's process, ended with all that it has started.

    Args:
        output: the descriptor that what it prints goes to; None for standard output.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "disdel.flower.server_process", str(theirs.fileno())),
            pass_fds=(theirs.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            # Flower's own telemetry is the user's to switch on.
            env={"FLWR_TELEMETRY_ENABLED": "0", **os.environ, "PYTHONUNBUFFERED": "1"},
            # A Ctrl-C is for this process, which then ends that one.
            start_new_session=True,
        )
    reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_BUFFER_BYTES)
    try:
        yield Server(process, reader, writer)
    finally:
        _end_group(process.pid)
        await process.wait()
        writer.close()


def _end_group(leader: int) -> None:
    # The group may outlive its leader.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status} before its ServerApp did"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was ended by {name}: where nobody did that, this machine's memory may be used up"
