"""The client of OpenWhisk's REST API, which the embedded platform serves as well.

Activations are invoked blocking, which answers the moment they end; past the platform's wait of
60 s the answer is 202 and the record is polled. Facts about the wire are from apache/openwhisk:
core/controller (Actions.scala, Activations.scala) and common (WhiskActivation.scala).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from disdel.config import ApiAccess
from disdel.errors import ConnectionRefused, PlatformError, PlatformRejected
from disdel.platforms.base import ActionSpec, Platform
from disdel.types import ActivationRecord, Capacity
from disdel.units import MIB

_READ_TIMEOUT_S = 20.0
# Above the platform's own wait of 60 s for a blocking invocation and nginx's 75 s.
_INVOKE_TIMEOUT_S = 90.0
_CONNECT_TIMEOUT_S = 10.0
_POLL_S = 0.25
# A throttled namespace is free again at the next calendar minute.
_THROTTLE_POLL_S = 1.0
_THROTTLE_PATIENCE_S = 130.0
# A record is stored only after its logs were collected.
_RECORD_PATIENCE_S = 30.0

# What collecting an activation's log takes after its answer, as seen on Docker: 40 to 100 ms.
_SETTLE_MS = 150
# What upstream ships (contract of `GET /`: bytes and milliseconds), for a host that hides its info.
_DEFAULT_INFO = {
    "min_action_memory": 128 * MIB,
    "max_action_memory": 512 * MIB,
    "max_action_duration": 300_000,
    "concurrent_actions": 30,
    "actions_per_minute": 60,
}

Json = dict[str, Any]


class OpenWhisk(Platform):
    """A namespace of an OpenWhisk, the one that the key belongs to."""

    def __init__(self, access: ApiAccess) -> None:
        self._access = access
        user, _, secret = access.auth.partition(":")
        self._http = httpx.AsyncClient(
            base_url=access.apihost,
            auth=(user, secret),
            verify=not access.insecure,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        )

    async def capacity(self) -> Capacity:
        # Asked first, since it needs a valid key, which the public info page does not.
        await self._request("GET", "/api/v1/namespaces")
        info = await self._request("GET", "/")
        limits = {**_DEFAULT_INFO, **info.get("limits", {})}
        extension = info.get("capacity", {})
        return Capacity(
            memory_min_mb=limits["min_action_memory"] // MIB,
            memory_max_mb=limits["max_action_memory"] // MIB,
            timeout_max_s=limits["max_action_duration"] / 1000,
            concurrency=int(limits["concurrent_actions"]),
            invokes_per_minute=int(limits["actions_per_minute"]),
            pool_memory_mb=extension.get("user_memory_mb"),
            cpus=extension.get("cpus"),
            gpu_memory_mb=extension.get("gpu_memory_mb"),
            on_loopback=bool(extension),
            settle_s=extension.get("settle_ms", _SETTLE_MS) / 1000,
            kinds=tuple(
                runtime["kind"]
                for family in info.get("runtimes", {}).values()
                for runtime in family
            ),
        )

    async def create_package(self, package: str, parameters: Mapping[str, object]) -> None:
        body = {"parameters": [{"key": key, "value": value} for key, value in parameters.items()]}
        await self._request("PUT", f"{_packages(package)}?overwrite=true", body)

    async def create_action(self, package: str, action: ActionSpec) -> None:
        where = (
            {"kind": action.kind} if action.kind else {"kind": "blackbox", "image": action.image}
        )
        body = {
            "exec": {**where, "code": base64.b64encode(action.code).decode()},
            "limits": {"memory": action.memory_mb, "timeout": round(action.timeout_s * 1000)},
        }
        await self._change("PUT", f"{_actions(package, action.name)}?overwrite=true", body)

    async def invoke(
        self, package: str, action: str, arguments: Mapping[str, object]
    ) -> ActivationRecord:
        path = f"{_actions(package, action)}?blocking=true"
        response = await self._send_unthrottled("POST", path, dict(arguments))
        activation_id = response.headers.get("x-openwhisk-activation-id")
        if activation_id is None:
            raise self._rejected(response)
        body = self._json(response)
        if response.status_code == httpx.codes.ACCEPTED:
            body = await self._record(activation_id, patience_s=None)
        return _record_of(body)

    async def logs(self, activation_id: str) -> tuple[str, ...]:
        try:
            return _record_of(await self._record(activation_id, _RECORD_PATIENCE_S)).logs
        except PlatformError:
            # The logs explain another error; their own must not hide it.
            return ()

    async def remove_package(self, package: str) -> None:
        try:
            listed = await self._request("GET", f"{_NAMESPACE}/actions/{quote(package)}/?limit=0")
            for action in listed:
                await self._change("DELETE", _actions(package, action["name"]))
            await self._request("DELETE", _packages(package))
        except PlatformRejected as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise

    async def close(self) -> None:
        await self._http.aclose()

    async def _record(self, activation_id: str, patience_s: float | None) -> Json:
        """The stored record; there is none (404) while the activation runs."""
        waited_s = 0.0
        while True:
            try:
                record = await self._request(
                    "GET", f"{_NAMESPACE}/activations/{quote(activation_id)}"
                )
            except PlatformRejected as error:
                if error.status != httpx.codes.NOT_FOUND:
                    raise
                if patience_s is not None and waited_s >= patience_s:
                    raise
                await asyncio.sleep(_POLL_S)
                waited_s += _POLL_S
            else:
                return dict(record)

    async def _send_unthrottled(self, method: str, path: str, body: Json) -> httpx.Response:
        """Send, and wait for the next minute where the namespace's rate is used up."""
        waited_s = 0.0
        while True:
            response = await self._send(method, path, body, _INVOKE_TIMEOUT_S)
            if response.status_code != httpx.codes.TOO_MANY_REQUESTS:
                return response
            if waited_s >= _THROTTLE_PATIENCE_S:
                raise self._rejected(response)
            await asyncio.sleep(_THROTTLE_POLL_S)
            waited_s += _THROTTLE_POLL_S

    async def _request(self, method: str, path: str, body: Json | None = None) -> Any:
        """The JSON of a reply that is no error."""
        response = await self._send(method, path, body)
        if response.is_error:
            raise self._rejected(response)
        return self._json(response)

    async def _change(self, method: str, path: str, body: Json | None = None) -> None:
        """Make or delete an action, whose code in the reply, megabytes of it, stays unread."""
        response = await self._send(method, path, body, only_errors=True)
        if response.is_error:
            raise self._rejected(response)

    async def _send(
        self,
        method: str,
        path: str,
        body: Json | None,
        read_timeout_s: float = _READ_TIMEOUT_S,
        *,
        only_errors: bool = False,
    ) -> httpx.Response:
        """The reply to a request; with `only_errors`, the body of another reply is not read."""
        timeout = httpx.Timeout(read_timeout_s, connect=_CONNECT_TIMEOUT_S)
        request = self._http.build_request(method, path, json=body, timeout=timeout)
        try:
            response = await self._http.send(request, stream=True)
            try:
                if response.is_error or not only_errors:
                    await response.aread()
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConnectionRefused(
                f"no OpenWhisk answers at {self._access.apihost} ({type(error).__name__}: "
                f"{error}); check --apihost (or APIHOST in ~/.wskprops), or leave it out for "
                "the embedded platform"
            ) from error
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise ConnectionRefused(
                f"the OpenWhisk at {self._access.apihost} does not accept the key: "
                f"{_error_text(response)} Check --auth (or AUTH in ~/.wskprops)"
            )
        return response

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise ConnectionRefused(
                f"{response.request.url} answers, but not as OpenWhisk does "
                f"({response.status_code}, no JSON): check --apihost"
            ) from error

    def _rejected(self, response: httpx.Response) -> PlatformError:
        request = response.request
        return PlatformRejected(
            f"{request.method} {request.url.copy_with(query=None)}: {response.status_code} "
            f"{_error_text(response)}",
            status=response.status_code,
        )


_NAMESPACE = "/api/v1/namespaces/_"


def _packages(package: str) -> str:
    return f"{_NAMESPACE}/packages/{quote(package)}"


def _actions(package: str, action: str) -> str:
    return f"{_NAMESPACE}/actions/{quote(package)}/{quote(action)}"


def _error_text(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


def _record_of(body: Json) -> ActivationRecord:
    annotations = {entry["key"]: entry["value"] for entry in body.get("annotations", ())}
    return ActivationRecord(
        id=body["activationId"],
        action=body["name"],
        start_ms=body["start"],
        duration_ms=body.get("duration", 0),
        wait_ms=annotations.get("waitTime", 0),
        init_ms=annotations.get("initTime"),
        status=body["response"]["status"],
        timed_out=bool(annotations.get("timeout", False)),
        result=body["response"].get("result"),
        logs=tuple(body.get("logs", ())),
    )
