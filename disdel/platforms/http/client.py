"""The client: calls of functions behind URLs, each answered by the record of an activation.

A gateway that cuts a connection, or answers 502 or 504, does not say whether its function was
called, or whether it still runs. So the store is looked at, where activations claim their
invocations and leave their answers: one that has begun is waited for, one that has not is sent
again, and if both come to run after all, the second finds the claim of the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from disdel.connections.masking import masked
from disdel.connections.patience import Patience, Tell, Tries, tell_nobody
from disdel.errors import ActivationLost, ConnectionRefused, PlatformLost, PlatformRejected
from disdel.platforms.base import ActionSpec, Begun, LookUp, Platform, nowhere
from disdel.platforms.calls import HELLO, Call, Packages, check_hello
from disdel.platforms.checking import check_limits
from disdel.platforms.http.deployed import check_deployed
from disdel.platforms.http.gate import Gate
from disdel.platforms.http.limits import AROUND_BYTES
from disdel.platforms.http.posting import Failed, Posting
from disdel.platforms.parts import parts_of
from disdel.types import ActivationRecord, Capacity

# Patience with a function that has never answered: the address may be wrong.
_FIRST_CONTACT_S = 2.0
# Others take the room, which they give back when they are through.
_THROTTLE_PATIENCE_S = 600.0
_THROTTLE_S = 0.2
# From a call's time limit until its answer must be there.
_ANSWER_S = 10.0
# An invocation that a gateway has cut has begun by then, if its function was called.
_LOOK_S = 3.0
_POLL_S = 0.2


class HttpFunction(Platform):
    """Functions that are alike, behind one URL or several.

    Args:
        posting: requests to them.
        urls: their addresses.
        capacity: what they allow.
        start_s: how long an instance may take to start.
        patience_s: how long a function that fails is tried again.
        tell: told of outages.
    """

    keeps_records = False

    def __init__(
        self,
        posting: Posting,
        urls: tuple[str, ...],
        capacity: Capacity,
        *,
        start_s: float,
        patience_s: float,
        tell: Tell = tell_nobody,
    ) -> None:
        self._posting = posting
        self._capacity = capacity
        self._start_s = start_s
        self._patience = Patience(masked(urls[0]), patience_s, tell=tell)
        self._throttle = Patience(masked(urls[0]), _THROTTLE_PATIENCE_S, tell=tell)
        self._gate = Gate(capacity.concurrency)
        self._running = dict.fromkeys(urls, 0)
        self._packages = Packages(capacity.payload_bytes, capacity.memory_max_mb)

    async def capacity(self) -> Capacity:
        return self._capacity

    async def create_package(self, package: str, parameters: Mapping[str, object]) -> None:
        self._packages.create(package, parameters)

    async def create_action(self, package: str, action: ActionSpec) -> None:
        most = self._capacity
        check_limits(action, most)
        parts = parts_of(action.code)
        for url in self._running:
            check_deployed(url, parts, await self.hello(url))
        if len(parts.own) > most.own_code_bytes:
            raise PlatformRejected(
                f"{action.name} has {len(parts.own)} bytes of code of its own, which travel in a "
                f"request, and {most.own_code_bytes} fit in one: let fewer or smaller files travel "
                "with it",
                status=413,
            )
        self._packages.add(package, action, parts.own)

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
        key = str(arguments.get("invocation", call.activation_id))
        asked_s = time.time()
        tries, throttled = self._patience.tries(), self._throttle.tries()
        while True:
            try:
                async with self._gate.turn():
                    reply = await self._exchange(call, key)
            except Failed as failed:
                found = await _look_for(begun) if failed.arrived else None
                if found is not None:
                    return await self._ended(call, found, begun, asked_s)
                await self._pause(failed, throttled if failed.throttled else tries)
                # Another activation: what the first does not do after all, this one does.
                call = _again(call)
                continue
            tries.succeeded()
            throttled.succeeded()
            self._gate.went_well()
            waited_ms = round((reply.get("start_ms", 0) / 1000 - asked_s) * 1000)
            return self._packages.note(call, reply, wait_ms=waited_ms)

    async def record(
        self,
        package: str,  # noqa: ARG002
        action: str,
        activation_id: str,
        *,
        timeout_s: float,
        begun: LookUp = nowhere,
    ) -> ActivationRecord:
        call = Call(activation_id, action, {"timeout_s": timeout_s}, b"")
        found = await begun()
        if found is None or found.activation_id != activation_id:
            raise ActivationLost(
                f"activation {activation_id} has left nothing", activation_id=activation_id
            )
        return await self._ended(call, found, begun, time.time())

    async def logs(self, activation_id: str, *, within_s: float) -> tuple[str, ...]:  # noqa: ARG002
        return self._packages.logs(activation_id)

    async def remove_package(self, package: str) -> None:
        forget = self._packages.remove(package)
        for url in self._running:
            with contextlib.suppress(Failed, ConnectionRefused, PlatformRejected):
                await self._post(url, forget, key="", read_s=_ANSWER_S)

    def hurry(self) -> None:
        self._patience.hurry()
        self._throttle.hurry()

    async def close(self) -> None:
        for package in self._packages.names():
            await self.remove_package(package)
        await self._posting.close()

    async def hello(self, url: str) -> Mapping[str, Any]:
        """What a function says of itself.

        Raises:
            ConnectionRefused: it does not answer, or is none of disdel's.
            PlatformRejected: it speaks otherwise.
            PlatformLost: it has answered, and does not any more.
        """
        tries = self._patience.tries()
        while True:
            try:
                reply = await self._post(url, json.dumps(HELLO), key="", read_s=self._start_s)
            except Failed as failed:
                await self._pause(failed, tries)
            else:
                tries.succeeded()
                return check_hello(reply, f"the function at {masked(url)}")

    async def _exchange(self, call: Call, key: str) -> dict[str, Any]:
        """The reply to a call, from the function that has least to do.

        Raises:
            Failed: there is none.
        """
        url = min(self._running, key=lambda url: self._running[url])
        read_s = self._start_s + call.fields["timeout_s"] + _ANSWER_S
        self._running[url] += 1
        try:
            reply = await self._post(url, call.text(), key=key, read_s=read_s)
            if "wants" in reply:
                reply = await self._post(url, call.text(with_code=True), key=key, read_s=read_s)
            if "wants" in reply:
                # Another instance has answered.
                raise Failed("an instance wants code that was sent", arrived=False)
            return reply
        finally:
            self._running[url] -= 1

    async def _post(self, url: str, text: str, *, key: str, read_s: float) -> dict[str, Any]:
        most_bytes = self._capacity.payload_bytes + 2 * AROUND_BYTES
        return await self._posting.post(url, text, key=key, read_s=read_s, most_bytes=most_bytes)

    async def _pause(self, failed: Failed, tries: Tries) -> None:
        """Wait until the next try.

        Raises:
            ConnectionRefused: there is none, and nobody has ever answered.
            PlatformLost: there is none.
        """
        at_least_s = failed.at_least_s
        if failed.throttled:
            self._gate.throttled()
            at_least_s = max(at_least_s, _THROTTLE_S)
        unmet = not self._posting.met and not failed.reached
        limit_s = _FIRST_CONTACT_S if unmet else float("inf")
        if await tries.pause(str(failed), at_least_s=at_least_s, limit_s=limit_s):
            return
        where = self._patience.server
        if unmet:
            raise ConnectionRefused(f"no function answers at {where} ({failed}): check the url")
        raise PlatformLost(f"{where} has failed for {tries.lasted_s:.0f} s: {failed}") from failed

    async def _ended(
        self, call: Call, found: Begun, begun: LookUp, asked_s: float
    ) -> ActivationRecord:
        """The record of an activation whose answer got lost, once it has ended."""
        due_s = time.monotonic() + call.fields["timeout_s"] + _ANSWER_S
        while not found.ended and time.monotonic() < due_s:
            await asyncio.sleep(_POLL_S)
            found = await begun() or found
        why = (
            "it has ended, and its answer got lost"
            if found.ended
            else "its connection was cut, and it has not ended in its time"
        )
        return self._packages.lost(
            call, "platform-error", why, began_s=asked_s, now_s=time.time(), begun=found
        )


def _again(call: Call) -> Call:
    activation_id = secrets.token_hex(16)
    fields = {**call.fields, "activation_id": activation_id}
    return dataclasses.replace(call, activation_id=activation_id, fields=fields)


async def _look_for(begun: LookUp) -> Begun | None:
    """What an invocation has left whose answer got lost, once it has begun."""
    until_s = time.monotonic() + _LOOK_S
    while (found := await begun()) is None:
        if begun is nowhere or time.monotonic() >= until_s:
            return None
        await asyncio.sleep(_POLL_S)
    return found
