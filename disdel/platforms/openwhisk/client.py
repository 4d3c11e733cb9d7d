"""The client of OpenWhisk's REST API, which the embedded platform serves as well.

Activations are invoked blocking, which answers the moment they end; past the platform's wait of
60 s the answer is 202 and the record is polled. Facts about the wire are from apache/openwhisk:
core/controller (Actions.scala, Activations.scala) and common (WhiskActivation.scala).
"""

from __future__ import annotations

import asyncio
import base64
import math
import time
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx

from disdel.connections.patience import Patience, Tell, tell_nobody
from disdel.errors import ActivationLost, PlatformError, PlatformRejected
from disdel.host.environment import DEFAULT_PATIENCE_NETWORK_S
from disdel.platforms.base import ActionSpec, LookUp, Platform, nowhere
from disdel.platforms.openwhisk.access import ApiAccess
from disdel.platforms.openwhisk.exchange import (
    ACTIVATION_ID,
    UNREADABLE,
    Exchange,
    Json,
    Passing,
    Throttled,
)
from disdel.platforms.openwhisk.limits import NAMES, capacity_of, hosted_capacity
from disdel.platforms.openwhisk.outcomes import ending_of
from disdel.settings import LimitsName
from disdel.types import ActivationRecord, Capacity, LimitNames

# Above the platform's own wait of 60 s for a blocking invocation and nginx's 75 s.
_INVOKE_TIMEOUT_S = 90.0
_POLL_S = 0.25
# A throttled namespace is free again at the next calendar minute.
_THROTTLE_POLL_S = 1.0
_THROTTLE_PATIENCE_S = 130.0
# An invocation whose answer got lost has begun by then, if it was accepted and had not to wait.
_LOOK_S = 3.0
_LOOK_AGAIN_S = 0.1
# OpenWhisk itself gives up an activation after twice its limit (at least 60 s) and a minute
# (CommonLoadBalancer.scala); the limit holds for init and for run alike.
_LEAST_LIMIT_S = 60.0
_GIVEN_UP_S = 60.0
# From an activation's end until its record can be read: after a time-out 11 s were seen.
_RECORD_S = 30.0
# From one look to the next whether an action whose record is waited for is still there.
_STILL_THERE_S = 5.0
# A record that is later than that is spoken of.
_TELL_AFTER_S = 2.0


class OpenWhisk(Platform):
    """A namespace of an OpenWhisk, the one that the key belongs to.

    Args:
        access: the host and the key.
        patience_s: how long a host that fails is tried again.
        tell: told of outages.
        names: of the settings by which its limits are raised.
        hosted: whose limits it has, one of `limits.HOSTED`; None where it tells them itself.
    """

    def __init__(
        self,
        access: ApiAccess,
        *,
        patience_s: float = DEFAULT_PATIENCE_NETWORK_S,
        tell: Tell = tell_nobody,
        names: LimitNames = NAMES,
        hosted: LimitsName | None = None,
    ) -> None:
        name = f"OpenWhisk at {access.apihost}"
        self._patience = Patience(name, patience_s, tell=tell)
        self._throttle = Patience(name, _THROTTLE_PATIENCE_S, tell=tell)
        self._tell = tell
        self._names = names
        self._hosted = hosted
        self._exchange = Exchange(access, self._patience)

    async def capacity(self) -> Capacity:
        # Asked first, since it needs a valid key, which the public info page does not.
        await self._exchange.answer("GET", "/api/v1/namespaces", read=_strings)
        told = await self._exchange.answer("GET", "/", read=partial(capacity_of, names=self._names))
        return told if self._hosted is None else hosted_capacity(told, self._hosted)

    async def create_package(self, package: str, parameters: Mapping[str, object]) -> None:
        body = {"parameters": _pairs(parameters)}
        await self._exchange.change("PUT", f"{_packages(package)}?overwrite=true", body)

    async def create_action(self, package: str, action: ActionSpec) -> None:
        where = (
            {"kind": action.kind} if action.kind else {"kind": "blackbox", "image": action.image}
        )
        body: dict[str, object] = {
            "exec": {**where, "code": base64.b64encode(action.code).decode()},
            "limits": {"memory": action.memory_mb, "timeout": round(action.timeout_s * 1000)},
        }
        if action.parameters:
            body["parameters"] = _pairs(action.parameters)
        path = f"{_actions(package, action.name)}?overwrite=true"
        await self._exchange.change("PUT", path, body)

    async def invoke(
        self,
        package: str,
        action: str,
        arguments: Mapping[str, object],
        *,
        timeout_s: float = 60.0,
        begun: LookUp = nowhere,
    ) -> ActivationRecord:
        path = f"{_actions(package, action)}?blocking=true"
        tries, throttled = self._patience.tries(), self._throttle.tries()
        while True:
            response = None
            try:
                response = await self._exchange.once(
                    "POST", path, dict(arguments), read_timeout_s=_INVOKE_TIMEOUT_S
                )
                activation_id = response.headers.get(ACTIVATION_ID)
                if activation_id is None:
                    raise self._exchange.unexpected(response)
                answer = _record_in(response)
            except Throttled as failure:
                failure.at_least_s = max(failure.at_least_s, _THROTTLE_POLL_S)
                await self._exchange.pause(throttled, failure)
                continue
            except Passing as failure:
                activation_id, answer = failure.activation_id, None
                if activation_id is None and failure.arrived:
                    activation_id = await _look_for(begun)
                if activation_id is None:
                    await self._exchange.pause(tries, failure)
                    continue
            tries.succeeded()
            throttled.succeeded()
            if answer is not None:
                return answer
            # Past the platform's own wait nothing is wrong, and nobody needs to be told.
            lost = response is None or response.status_code != httpx.codes.ACCEPTED
            return await self._await_record(
                package, action, activation_id, timeout_s=timeout_s, begun=begun, tells=lost
            )

    async def record(
        self,
        package: str,
        action: str,
        activation_id: str,
        *,
        timeout_s: float,
        begun: LookUp = nowhere,
    ) -> ActivationRecord:
        return await self._await_record(
            package, action, activation_id, timeout_s=timeout_s, begun=begun, tells=True
        )

    async def _await_record(
        self,
        package: str,
        action: str,
        activation_id: str,
        *,
        timeout_s: float,
        begun: LookUp,
        tells: bool,
    ) -> ActivationRecord:
        """The record of an activation; with `tells`, a note says that it is waited for."""
        looked_s = asked_s = time.monotonic()
        due_s = asked_s + 2 * max(timeout_s, _LEAST_LIMIT_S) + _GIVEN_UP_S
        seen_begun = seen_ended = False
        while True:
            record = await self._stored(activation_id)
            if record is not None:
                return record
            now_s = time.monotonic()
            found = None if seen_ended else await begun()
            if found is not None and found.activation_id == activation_id:
                if not seen_begun:
                    due_s = min(due_s, now_s + timeout_s + _RECORD_S)
                if found.ended and not seen_ended:
                    due_s = min(due_s, now_s + _RECORD_S)
                seen_begun, seen_ended = True, found.ended
            if now_s >= due_s:
                raise ActivationLost(
                    f"activation {activation_id} has left no record in {now_s - asked_s:.0f} s",
                    activation_id=activation_id,
                )
            if tells and now_s >= asked_s + _TELL_AFTER_S:
                tells = False
                self._tell(
                    f"the answer of activation {activation_id} ({action}) got lost; its record is "
                    f"waited for, at most {due_s - now_s:.0f} s"
                )
            if now_s >= looked_s + _STILL_THERE_S:
                # A platform that was started again without what it held has no record to come.
                path = f"{_actions(package, action)}?code=false"
                await self._exchange.answer("GET", path, read=dict)
                looked_s = now_s
            await asyncio.sleep(_POLL_S)

    async def logs(self, activation_id: str, *, within_s: float) -> tuple[str, ...]:
        due_s = time.monotonic() + within_s
        while True:
            record = await self._stored(activation_id, limit_s=within_s)
            if record is not None:
                return record.logs
            if time.monotonic() >= due_s:
                raise PlatformError(f"{activation_id} has no record after {within_s:g} s")
            await asyncio.sleep(_POLL_S)

    async def remove_package(self, package: str) -> None:
        path = f"{_NAMESPACE}/actions/{quote(package)}/?limit=0"
        try:
            listed = await self._exchange.answer("GET", path, read=_names)
        except PlatformRejected as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            return
        for name in listed:
            await self._exchange.change("DELETE", _actions(package, name), gone_is_fine=True)
        await self._exchange.change("DELETE", _packages(package), gone_is_fine=True)

    def hurry(self) -> None:
        self._patience.hurry()
        self._throttle.hurry()

    async def _stored(
        self, activation_id: str, *, limit_s: float = math.inf
    ) -> ActivationRecord | None:
        """The record of an activation; there is none (404) while it runs."""
        path = f"{_NAMESPACE}/activations/{quote(activation_id)}"
        try:
            return await self._exchange.answer("GET", path, read=_record_of, limit_s=limit_s)
        except PlatformRejected as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            return None

    async def close(self) -> None:
        await self._exchange.close()


_NAMESPACE = "/api/v1/namespaces/_"


def _packages(package: str) -> str:
    return f"{_NAMESPACE}/packages/{quote(package)}"


def _pairs(parameters: Mapping[str, object]) -> list[dict[str, object]]:
    return [{"key": key, "value": value} for key, value in parameters.items()]


def _actions(package: str, action: str) -> str:
    return f"{_NAMESPACE}/actions/{quote(package)}/{quote(action)}"


def _strings(listed: Any) -> list[str]:
    if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
        raise TypeError
    return listed


def _names(listed: Any) -> list[str]:
    return [str(entry["name"]) for entry in listed]


async def _look_for(begun: LookUp) -> str | None:
    """The activation of an invocation whose answer got lost, once it has begun."""
    until_s = time.monotonic() + _LOOK_S
    while (found := await begun()) is None:
        if begun is nowhere or time.monotonic() >= until_s:
            return None
        await asyncio.sleep(_LOOK_AGAIN_S)
    return found.activation_id


def _record_in(response: httpx.Response) -> ActivationRecord | None:
    """The record that answers a blocking invocation; None where it is still to come."""
    if response.status_code == httpx.codes.ACCEPTED:
        return None
    try:
        return _record_of(response.json())
    except UNREADABLE:
        # Somebody in between has made it something else.
        return None


def _record_of(body: Json) -> ActivationRecord:
    annotations = {entry["key"]: entry["value"] for entry in body.get("annotations", ())}
    response = body["response"]
    timed_out = bool(annotations.get("timeout", False))
    return ActivationRecord(
        id=body["activationId"],
        action=body["name"],
        start_ms=body["start"],
        duration_ms=body.get("duration", 0),
        wait_ms=annotations.get("waitTime", 0),
        init_ms=annotations.get("initTime"),
        ending=ending_of(response["status"], response.get("result"), timed_out=timed_out),
        result=response.get("result"),
        logs=tuple(body.get("logs", ())),
    )
