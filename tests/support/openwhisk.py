"""A user of an OpenWhisk, with what the checks have in common."""

from __future__ import annotations

import base64
import io
import secrets
import time
import zipfile
from types import TracebackType
from typing import Any

import httpx

from disdel.platforms.openwhisk.access import ApiAccess

ECHO = "def main(args): return args"
NO_RESOURCE = "The requested resource does not exist."
NO_ROUTE = "The requested resource could not be found."
DEVELOPER_ERROR = "action developer error"
APPLICATION_ERROR = "application error"

_DEADLINE_S = 90.0
_POLL_S = 0.02
_MINUTE_TEXT = "Too many requests in the last minute"


class OpenWhisk:
    """Requests to one namespace; entities get names of their own and are removed in the end."""

    def __init__(self, access: ApiAccess, *, embedded: bool) -> None:
        self.embedded = embedded
        self.access = access
        user, _, secret = access.auth.partition(":")
        self.http = httpx.Client(
            base_url=access.apihost,
            auth=(user, secret),
            timeout=_DEADLINE_S,
            trust_env=False,
            verify=not access.insecure,
        )
        self._made: list[str] = []
        self._last: dict[str, str] = {}
        self.limits: dict[str, int] = self.http.get("/").json()["limits"]
        [self.namespace] = self.http.get("/api/v1/namespaces").json()

    def __enter__(self) -> OpenWhisk:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.http.close()

    def clean_up(self) -> None:
        for path in reversed(self._made):
            gone = self.delete(path)
            assert gone.status_code in (200, 204, 404), f"{path}: {gone.text}"

    def name(self, collection: str = "actions") -> str:
        """A new name, whose entity is removed in the end."""
        name = f"conformance-{secrets.token_hex(4)}"
        self.remove_later(f"/{collection}/{name}")
        return name

    def remove_later(self, path: str) -> None:
        self._made.append(f"{path}?force=true" if path.startswith("/packages/") else path)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request, again in the next minute where this one's invocations are used up."""
        end = time.monotonic() + _DEADLINE_S
        while True:
            reply = self.http.request(method, f"/api/v1/namespaces/_{path}", **options)
            if reply.status_code != 429 or _MINUTE_TEXT not in reply.text:
                return reply
            assert time.monotonic() < end, "the namespace is throttled for more than a minute"
            time.sleep(1)

    def package(self, **wire: Any) -> str:
        name = self.name("packages")
        reply = self.put(f"/packages/{name}", json=wire)
        assert reply.status_code == 200, reply.text
        return name

    def action(
        self, code: str = ECHO, *, name: str | None = None, memory: int = 128, **wire: Any
    ) -> str:
        """Make or update an action, and return its name."""
        if name is None:
            name = self.name()
        elif "/" in name:
            self.remove_later(f"/actions/{name}")
        wire.setdefault("exec", {"kind": "python:default", "code": code})
        wire["limits"] = {"memory": memory, **wire.get("limits", {})}
        reply = self.put(f"/actions/{name}?overwrite=true", json=wire)
        assert reply.status_code == 200, reply.text
        return name

    def invoke(
        self, name: str, payload: dict[str, Any] | None = None, query: str = ""
    ) -> httpx.Response:
        """A blocking invocation, begun when the last one of that action has left its container.

        OpenWhisk answers first, then collects the log, then the container is free and the record
        is there.
        """
        if name in self._last:
            self.ended(self._last.pop(name))
        reply = self.post(f"/actions/{name}?blocking=true{query}", json=payload or {})
        if activation_id := reply.headers.get("x-openwhisk-activation-id"):
            self._last[name] = activation_id
        return reply

    def result(self, name: str, payload: dict[str, Any] | None = None) -> Any:
        reply = self.invoke(name, payload, "&result=true")
        assert reply.status_code == 200, reply.text
        return reply.json()

    def activation(self, activation_id: str) -> dict[str, Any]:
        """The record, once it is there."""
        return dict(self.ended(activation_id).json())

    def ended(self, activation_id: str) -> httpx.Response:
        """The answer with the record, once it is there; some are not for Python to read."""
        end = time.monotonic() + _DEADLINE_S
        while True:
            reply = self.get(f"/activations/{activation_id}")
            if reply.status_code == 200:
                return reply
            assert reply.status_code == 404, reply.text
            assert time.monotonic() < end, f"activation {activation_id} has not ended"
            time.sleep(_POLL_S)


def annotations(entity: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: pair["value"] for pair in entity["annotations"]}


def is_refused(reply: httpx.Response, status: int, text: str) -> None:
    """That the platform refused a request, in the envelope of its errors."""
    assert (reply.status_code, reply.json()["error"]) == (status, text)
    assert isinstance(reply.json()["code"], str)
    assert "x-openwhisk-activation-id" not in reply.headers


def has_failed(reply: httpx.Response, status: str, error: object) -> dict[str, Any]:
    """That an action ended so; its record."""
    assert reply.status_code == 502, reply.text
    record: dict[str, Any] = reply.json()
    response = record["response"]
    assert (response["status"], response["success"]) == (status, False)
    assert response["result"] == {"error": error}
    return record


def is_cold(record: dict[str, Any]) -> bool:
    return "initTime" in annotations(record)


def archive(**files: str) -> str:
    """A zip as an action's code; `main` is its entry."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, text in files.items():
            bundle.writestr("__main__.py" if name == "main" else f"{name}.py", text)
    return base64.b64encode(buffer.getvalue()).decode()
