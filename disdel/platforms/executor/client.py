"""The client: calls of `executor_call.run`, each answered by the record of an activation.

Whatever an action does, its call is answered, since it runs in a child of the worker. What a future
raises is therefore the executor's: it has lost the worker, or could not run anything there. Such a
call is given to it again, since its action was not to blame. Of calls that were lost together,
as with a pool that is broken, each is suspected, and suspects run one at a time: only one that is
lost then is counted as lost, so that the others lose no tries.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any, cast

from disdel.connections.patience import Patience, Tell, tell_nobody
from disdel.errors import ActivationLost, PlatformError, PlatformLost
from disdel.platforms.base import ActionSpec, Begun, LookUp, Platform, nowhere
from disdel.platforms.calls import HELLO, UNKNOWN, Call, Packages, check_hello
from disdel.platforms.checking import check_limits
from disdel.platforms.executor.source import Source
from disdel.types import ActivationRecord, Capacity

# A suspect that was lost so often alone has its worker's end to answer for.
_MOST_BLAMED = 3
# From a call's time limit until its answer must be there.
_ANSWER_S = 30.0
_LOOK_S = 1.0
# So many workers are told to forget a package, and for so long.
_FORGET_MOST = 64
_FORGET_S = 5.0


class _Lost(Exception):
    """A call whose worker, or whose executor, has not answered it."""


class Executor(Platform):
    """The workers of an executor.

    Args:
        source: of the executor; who opened it closes it.
        capacity: what it allows.
        start_s: how long a call may wait for a worker.
        patience_s: how long an executor that fails is tried again.
        tell: told of lost workers.
    """

    keeps_records = False

    def __init__(
        self,
        source: Source,
        capacity: Capacity,
        *,
        start_s: float,
        patience_s: float,
        tell: Tell = tell_nobody,
    ) -> None:
        self._source = source
        self._capacity = capacity
        self._start_s = start_s
        self._tell = tell
        self._patience = Patience(source.called, patience_s, tell=tell)
        self._packages = Packages(capacity.payload_bytes, capacity.memory_max_mb)
        # What waits here can be cancelled, which not every executor knows.
        self._turn = asyncio.Semaphore(capacity.concurrency)
        self._suspects = asyncio.Lock()

    async def capacity(self) -> Capacity:
        return self._capacity

    async def create_package(self, package: str, parameters: Mapping[str, object]) -> None:
        self._packages.create(package, parameters)

    async def create_action(self, package: str, action: ActionSpec) -> None:
        check_limits(action, self._capacity)
        self._packages.add(package, action, action.code)

    async def invoke(
        self,
        package: str,
        action: str,
        arguments: Mapping[str, object],
        *,
        timeout_s: float = 60.0,  # noqa: ARG002 - the action has its own
        begun: LookUp = nowhere,
    ) -> ActivationRecord:
        limit_s = self._packages.find(package, action).timeout_s
        call = self._packages.call(package, action, arguments, timeout_s=limit_s)
        asked_s = time.time()
        tries, blamed = self._patience.tries(), -1
        while True:
            try:
                reply = await self._send(call, suspected=blamed >= 0, begun=begun)
            except _Lost as lost:
                blamed += 1
                found = await begun()
                if blamed >= _MOST_BLAMED or (found is not None and found.ended):
                    return self._packages.lost(
                        call,
                        "vanished",
                        str(lost),
                        began_s=asked_s,
                        now_s=time.time(),
                        begun=found,
                    )
                if not self._source.renew(cast(BaseException, lost.__cause__)):
                    raise PlatformLost(
                        f"{self._source.called} has lost its workers and takes no more calls "
                        f"({lost}): give a function that makes one, which is called again"
                    ) from lost
                if not await tries.pause(str(lost)):
                    raise PlatformLost(f"{self._source.called}: {lost}") from lost
                continue
            tries.succeeded()
            waited_ms = round((reply.get("start_ms", 0) / 1000 - asked_s) * 1000)
            return self._packages.note(call, reply, wait_ms=waited_ms)

    async def record(
        self,
        package: str,  # noqa: ARG002
        action: str,  # noqa: ARG002
        activation_id: str,
        *,
        timeout_s: float,  # noqa: ARG002
        begun: LookUp = nowhere,  # noqa: ARG002
    ) -> ActivationRecord:
        # An executor has no records; what it ran twice is the same activation.
        raise ActivationLost(f"no record of {activation_id}", activation_id=activation_id)

    async def logs(self, activation_id: str, *, within_s: float) -> tuple[str, ...]:  # noqa: ARG002
        return self._packages.logs(activation_id)

    async def remove_package(self, package: str) -> None:
        forget, workers = self._packages.remove(package), self._capacity.concurrency
        with contextlib.suppress(_Lost, TimeoutError):
            async with asyncio.timeout(_FORGET_S):
                await asyncio.gather(
                    *(self._answer(forget) for _ in range(min(_FORGET_MOST, workers)))
                )

    def hurry(self) -> None:
        self._patience.hurry()

    async def close(self) -> None:
        """Let go of what is left of its packages; the executor is its source's."""
        for package in self._packages.names():
            await self.remove_package(package)

    async def _send(self, call: Call, *, suspected: bool, begun: LookUp) -> dict[str, Any]:
        """The reply to a call, for which a suspect waits until no other suspect runs.

        Raises:
            _Lost: there is none.
        """
        if suspected:
            async with self._suspects:
                return await self._send(call, suspected=False, begun=begun)
        async with self._turn:
            reply = await self._within(call, call.text(), begun)
            if "wants" in reply:
                reply = await self._within(call, call.text(with_code=True), begun)
            return reply

    async def _within(self, call: Call, text: str, begun: LookUp) -> dict[str, Any]:
        """The reply, if it comes by the time that the call may take.

        Raises:
            _Lost: it does not.
        """
        answering = asyncio.ensure_future(self._answer(text))
        due_s = time.monotonic() + self._start_s
        seen: Begun | None = None
        try:
            while not answering.done():
                await asyncio.wait([answering], timeout=_LOOK_S)
                if seen is None and not answering.done() and (seen := await begun()) is not None:
                    due_s = time.monotonic() + call.fields["timeout_s"] + _ANSWER_S
                if time.monotonic() > due_s and not answering.done():
                    what = "has begun, and not ended in its time" if seen else "was not begun"
                    raise _Lost(f"the call {what}") from TimeoutError()
            return answering.result()
        finally:
            answering.cancel()

    async def _answer(self, text: str) -> dict[str, Any]:
        """What a worker answers.

        Raises:
            _Lost: none does.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()

        def tell(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # The loop may be gone.
                loop.call_soon_threadsafe(_finish, answered)

        # Made in this thread: executors may set handlers of signals.
        _ = self._source.executor
        try:
            future = await asyncio.to_thread(self._source.submit, text)
        except Exception as error:
            raise _Lost(f"{type(error).__name__}: {error}") from error
        try:
            future.add_done_callback(tell)
            await answered
            # Dask's has to be fetched; of others it is there.
            said = await asyncio.to_thread(future.result)
        except asyncio.CancelledError:
            future.cancel()
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            raise _Lost("the executor has cancelled the call") from TimeoutError()
        except Exception as error:
            raise _Lost(f"{type(error).__name__}: {error}") from error
        try:
            reply = json.loads(said)
        except (TypeError, ValueError):
            reply = None
        if not isinstance(reply, dict):
            raise PlatformError(
                f"{self._source.called} answers {str(said)[:40]!r}, which is no answer of "
                "disdel's: does it call what it is given?"
            )
        return reply


async def hello(source: Source, start_s: float) -> Mapping[str, Any]:
    """What a worker of an executor says of itself.

    Raises:
        PlatformRejected: its disdel speaks otherwise.
        PlatformError: it has no worker that answers.
    """
    probe = Executor(source, UNKNOWN, start_s=start_s, patience_s=0.0)
    try:
        async with asyncio.timeout(start_s):
            reply = await probe._answer(json.dumps(HELLO))
    except _Lost as lost:
        raise PlatformError(
            f"no worker of {source.called} answers ({lost}): is this version of disdel installed "
            "where they run?"
        ) from lost
    except TimeoutError as error:
        raise PlatformError(
            f"no worker of {source.called} has answered in {start_s:g} s: raise "
            "--platform-option start"
        ) from error
    return check_hello(reply, f"a worker of {source.called}")


def _finish(answered: asyncio.Future[None]) -> None:
    if not answered.done():
        answered.set_result(None)
