"""The client of AWS Lambda: a function for each action of a package.

Lambda has no packages and no records. What a package's actions have in common is added to each
event here, and an answer that got lost is found in the run's store (`Begun.result`).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeAlias, TypeVar

from disdel.connections.patience import Patience, Tell, Tries, tell_nobody
from disdel.errors import (
    ActivationLost,
    ConnectionRefused,
    PlatformError,
    PlatformLost,
    PlatformRejected,
)
from disdel.host.environment import DEFAULT_PATIENCE_NETWORK_S
from disdel.platforms.base import ActionSpec, Begun, LookUp, Platform, nowhere
from disdel.platforms.lambda_.aws import Aws, Passing, Throttled, in_thread, meaning
from disdel.platforms.lambda_.deploying import Deploying
from disdel.platforms.lambda_.limits import INIT_S, PAYLOAD_BYTES, capacity, payload_bytes
from disdel.platforms.lambda_.logs import whole_log
from disdel.platforms.lambda_.options import LambdaOptions
from disdel.platforms.lambda_.outcomes import answer_of, report_in
from disdel.platforms.pacing import Pacing
from disdel.types import ActivationRecord, Capacity

T = TypeVar("T")
_Deployed: TypeAlias = tuple[ActionSpec, Mapping[str, str]]

# From a function's time limit until its answer must be here; then it has got lost.
_ANSWER_S = 30.0
# An invocation whose answer got lost has begun by then, if it was accepted.
_LOOK_S = 3.0
_LOOK_AGAIN_S = 0.1
_FIRST_CONTACT_S = 15.0
# How long without a single answer all invocations may be refused for their number.
_THROTTLE_PATIENCE_S = 130.0
# Of activations whose logs are kept.
_MOST_LOGS = 2_000
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_NOT_FOUND = 404
_TOO_LARGE = 413


class Lambda(Platform):
    """The functions of an account in a region.

    Args:
        options: which, and how functions are deployed.
        patience_s: how long a server that fails is tried again.
        tell: told of outages.

    Attributes:
        place: what tells it from others.

    Raises:
        UsageError: boto3 is not installed, or there is no region.
    """

    keeps_records: ClassVar[bool] = False

    def __init__(
        self,
        options: LambdaOptions,
        *,
        patience_s: float = DEFAULT_PATIENCE_NETWORK_S,
        tell: Tell = tell_nobody,
    ) -> None:
        self._options = options
        self._aws = Aws(options)
        self.place = self._aws.place
        self._where = f"Lambda at {self.place}"
        self._patience = Patience(self._where, patience_s, tell=tell)
        self._throttle = Patience(self._where, _THROTTLE_PATIENCE_S, tell=tell)
        self._met = False
        self._tell = tell
        # The functions of which it was told that they start slowly.
        self._slow: set[str] = set()
        # Parameters; and the actions, each with what its events have beside arguments.
        self._packages: dict[str, tuple[dict[str, object], dict[str, _Deployed]]] = {}
        self._logs: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._pacing = Pacing(capacity(options).concurrency)
        self._deploying = Deploying(self._aws, options, self._ask)

    async def capacity(self) -> Capacity:
        # Asked first, since it needs a valid key.
        await self._ask(partial(self._aws.control.list_functions, MaxItems=1))
        try:
            settings = await self._ask(self._aws.control.get_account_settings)
            most = int(settings["AccountLimit"]["ConcurrentExecutions"])
        except (PlatformError, KeyError, TypeError):
            # Not everybody may ask, and no emulator answers.
            most = None
        allowed = capacity(self._options, most)
        self._pacing.at_most(allowed.concurrency)
        return allowed

    async def create_package(self, package: str, parameters: Mapping[str, object]) -> None:
        _, actions = self._packages.get(package, ({}, {}))
        self._packages[package] = (dict(parameters), actions)

    async def create_action(self, package: str, action: ActionSpec) -> None:
        if package not in self._packages:
            raise PlatformRejected(f"there is no package {package}", status=_NOT_FOUND)
        added = await self._deploying.create(package, action)
        self._packages[package][1][action.name] = (action, added)

    async def invoke(
        self,
        package: str,
        action: str,
        arguments: Mapping[str, object],
        *,
        timeout_s: float = 60.0,
        begun: LookUp = nowhere,
    ) -> ActivationRecord:
        spec, event = self._event(package, action, arguments)
        name = self._deploying.function(package, action)
        # Its own limit counts, whoever says what of it.
        within_s = max(timeout_s, spec.timeout_s) + INIT_S + _ANSWER_S
        tries, throttled = self._patience.tries(), self._throttle.tries()
        asked_s = time.time()
        while True:
            try:
                async with self._pacing.turn():
                    sent_s = time.time()
                    try:
                        reply = await self._send(name, event, within_s)
                    except Throttled:
                        self._pacing.refused()
                        raise
                    self._pacing.answered()
            except Throttled as failure:
                await self._pause(throttled, failure)
                continue
            except Passing as failure:
                found = await _look_for(begun) if failure.arrived else None
                if found is None:
                    await self._pause(tries, failure)
                    continue
                tries.succeeded()
                return await self.record(
                    package, action, found.activation_id, timeout_s=timeout_s, begun=begun
                )
            tries.succeeded()
            throttled.succeeded()
            return self._record_of(action, name, reply, asked_s=asked_s, sent_s=sent_s)

    async def record(
        self,
        package: str,  # noqa: ARG002 - there are no records, only what the store has
        action: str,
        activation_id: str,
        *,
        timeout_s: float,
        begun: LookUp = nowhere,
    ) -> ActivationRecord:
        began_s = time.time()
        until_s = time.monotonic() + timeout_s + INIT_S + _ANSWER_S
        while (found := await begun()) is None or not found.ended:
            if time.monotonic() >= until_s or begun is nowhere:
                raise ActivationLost(
                    f"the answer of activation {activation_id} got lost, and it has not ended in "
                    f"{time.time() - began_s:.0f} s",
                    activation_id=activation_id,
                )
            await asyncio.sleep(_LOOK_AGAIN_S)
        if found.result is None:
            raise ActivationLost(
                f"activation {activation_id} has ended, and its answer got lost",
                activation_id=activation_id,
            )
        return ActivationRecord(
            id=found.activation_id,
            action=action,
            start_ms=round(began_s * 1000),
            duration_ms=round((time.time() - began_s) * 1000),
            wait_ms=0,
            # A container that is not known of is not counted.
            init_ms=None,
            ending="application-error" if "error" in found.result else "success",
            result=found.result,
        )

    async def logs(self, activation_id: str, *, within_s: float) -> tuple[str, ...]:
        function, tail = self._logs.get(activation_id, ("", ""))
        if not tail or f"START RequestId: {_request_id(activation_id)}" in tail:
            return tuple(tail.splitlines())
        # What answers an invocation is the last 4 kB.
        try:
            ask = partial(whole_log, self._aws.logs, function, _request_id(activation_id))
            async with asyncio.timeout(within_s):
                lines = await self._ask(ask)
        except (PlatformError, TimeoutError) as error:
            lines = (f"… (the rest is not to be had: {error})",)
        return lines if len(lines) > 1 else (*lines, *tail.splitlines())

    async def remove_package(self, package: str) -> None:
        self._packages.pop(package, None)
        await self._deploying.remove(package)

    def hurry(self) -> None:
        self._patience.hurry()
        self._throttle.hurry()

    async def close(self) -> None:
        self._aws.close()

    def _event(
        self, package: str, action: str, arguments: Mapping[str, object]
    ) -> tuple[ActionSpec, bytes]:
        """An action, and what it is called with.

        Raises:
            PlatformRejected: there is none of that name (404), or it is too much (413).
        """
        parameters, actions = self._packages.get(package, ({}, {}))
        if action not in actions:
            raise PlatformRejected(f"there is no {package}/{action}", status=_NOT_FOUND)
        spec, added = actions[action]
        merged = {**parameters, **spec.parameters, **arguments}
        event = _json(merged)
        most = payload_bytes(self._options)
        if len(event) > most:
            raise PlatformRejected(
                f"the arguments of {action} are {len(event)} bytes of JSON, and Lambda takes "
                f"{most}{' beside the code' if most < PAYLOAD_BYTES else ''}",
                status=_TOO_LARGE,
            )
        return spec, _json({**merged, **added}) if added else event

    async def _send(self, name: str, event: bytes, within_s: float) -> Mapping[str, Any]:
        """What Lambda answers to one request: `payload`, `error`, `log` and `id`.

        Raises:
            Passing: it may be sent again.
            PlatformError: it may not.
        """

        def send() -> Mapping[str, Any]:
            reply = self._aws.runner.invoke(
                FunctionName=name, InvocationType="RequestResponse", LogType="Tail", Payload=event
            )
            return {
                "payload": reply["Payload"].read(),
                "error": reply.get("FunctionError"),
                "log": base64.b64decode(reply.get("LogResult", "")).decode(errors="replace"),
                "id": reply["ResponseMetadata"].get("RequestId", ""),
            }

        try:
            async with asyncio.timeout(within_s):
                reply = await in_thread(send)
        except TimeoutError:
            raise Passing(f"no answer in {within_s:.0f} s", arrived=True) from None
        except Exception as error:
            raise meaning(error, self._where, met=self._met) from error
        self._met = True
        return reply

    def _record_of(
        self, action: str, name: str, reply: Mapping[str, Any], *, asked_s: float, sent_s: float
    ) -> ActivationRecord:
        now_s = time.time()
        log, activation_id = reply["log"], _activation_id(reply["id"])
        report = report_in(log)
        answer = answer_of(reply["payload"], reply["error"], log)
        passed_ms = (now_s - sent_s) * 1000
        duration_ms = passed_ms
        init_ms = report.init_ms if report.thrown_away_ms is None else report.thrown_away_ms
        if report.duration_ms is not None:
            # The initialisation is billed as well, and was no waiting.
            duration_ms = min(passed_ms, report.duration_ms + (init_ms or 0.0))
        if report.thrown_away_ms is not None and name not in self._slow:
            self._slow.add(name)
            self._tell(
                f"the start of {name} took {report.thrown_away_ms / 1000:.1f} s: Lambda throws "
                f"away one of more than {INIT_S:.0f} s, and begins it again inside the call, where "
                "it takes as long once more; with more memory it has more CPU"
            )
        self._logs[activation_id] = (name, log)
        while len(self._logs) > _MOST_LOGS:
            self._logs.popitem(last=False)
        return ActivationRecord(
            id=activation_id,
            action=action,
            start_ms=int(now_s * 1000 - duration_ms),
            duration_ms=round(duration_ms),
            wait_ms=max(0, round((now_s - asked_s) * 1000 - duration_ms)),
            init_ms=None if init_ms is None else round(init_ms),
            ending=answer.ending,
            result=answer.result,
            logs=tuple(log.splitlines()),
        )

    async def _ask(self, ask: Callable[[], T]) -> T:
        """The answer to what may be asked again.

        Raises:
            ConnectionRefused: nobody has ever answered, or the key is wrong.
            PlatformLost: nobody answers any more.
            PlatformRejected: it is refused.
        """
        tries = self._patience.tries()
        while True:
            try:
                answer = await in_thread(ask)
            except Exception as error:
                failure = meaning(error, self._where, met=self._met)
                if not isinstance(failure, Passing):
                    raise failure from error
                await self._pause(tries, failure)
                continue
            tries.succeeded()
            self._met = True
            return answer

    async def _pause(self, tries: Tries, failure: Passing) -> None:
        """Wait until the next try.

        Raises:
            ConnectionRefused: there is none, and nobody has ever answered.
            PlatformLost: there is none.
        """
        unmet = not self._met and not failure.reached
        limit = {"limit_s": _FIRST_CONTACT_S} if unmet else {}
        if await tries.pause(failure.why, **limit):
            return
        if unmet:
            raise ConnectionRefused(
                f"{self._where} does not answer ({failure.why}): check --platform-option "
                f"{'region' if self._options.endpoint is None else 'endpoint'}"
            ) from failure
        raise PlatformLost(
            f"{self._where} has failed for {tries.lasted_s:.0f} s: {failure.why}"
        ) from failure


def _json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _activation_id(request_id: str) -> str:
    """OpenWhisk's form of an id, 32 hexadecimal digits."""
    digits = request_id.replace("-", "")
    return digits if _ID.fullmatch(digits) else secrets.token_hex(16)


def _request_id(activation_id: str) -> str:
    """Lambda's form of an id, with hyphens."""
    a = activation_id
    return "-".join((a[:8], a[8:12], a[12:16], a[16:20], a[20:]))


async def _look_for(begun: LookUp) -> Begun | None:
    """The activation of an invocation whose answer got lost, once it has begun."""
    until_s = time.monotonic() + _LOOK_S
    while (found := await begun()) is None:
        if begun is nowhere or time.monotonic() >= until_s:
            return None
        await asyncio.sleep(_LOOK_AGAIN_S)
    return found
