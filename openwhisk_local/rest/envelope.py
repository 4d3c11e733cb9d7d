"""The envelope of every reply: transaction id, CORS headers, and errors in OpenWhisk's form."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import string
from urllib.parse import unquote

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from openwhisk_local.entities.fields import Json
from openwhisk_local.replies import (
    DEEP,
    INTERNAL_ERROR,
    NO_ROUTE,
    ApiError,
    malformed,
    method_not_allowed,
)

TRANSACTION_ID_HEADER = "x-request-id"
_TRANSACTION_ALPHABET = string.ascii_letters + string.digits
# What may be echoed in a header.
_TRANSACTION_ID = re.compile(r"[!-~]{1,256}")
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-headers": (
        "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent"
    ),
    "access-control-allow-methods": "GET, DELETE, POST, PUT, HEAD",
}


API_ROOT = "/api/v1"
# Of a URI, and of a header.
MAX_LINE = 8192
# In no name, nor in an id.
_SLASH_WITHIN = "\N{DIVISION SLASH}"
WEB_ROOT = f"{API_ROOT}/web/"


def is_api(path: str) -> bool:
    return path == API_ROOT or path.startswith(f"{API_ROOT}/")


def no_route(path: str, *, only_get: bool = False) -> ApiError:
    """What upstream answers where no route takes a request.

    In the API its routes for web actions, which take every method, hide that another one would
    have been right; outside of it the route that answers preflights everywhere shows through.
    """
    if is_api(path):
        return ApiError(404, NO_ROUTE, rejection=True)
    return method_not_allowed("GET, OPTIONS" if only_get else "OPTIONS")


class Reply(Response):
    """A JSON reply."""

    media_type = "application/json"

    def render(self, content: Json) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


class PlainText(Response):
    media_type = "text/plain"
    # As upstream writes it.
    charset = "UTF-8"


class JsonText(Response):
    """A reply that is JSON already."""

    media_type = "application/json"


class Envelope:
    """Gives every request a transaction id, and every reply that id and the CORS headers.

    Those are the API's, or what a route has put into the request's state as `cors`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        too_long = _too_long(scope)
        if too_long:
            await too_long(scope, receive, send)
            return
        given = Request(scope).headers.get(TRANSACTION_ID_HEADER, "")
        usable = _TRANSACTION_ID.fullmatch(given) and not given.startswith("sid_")
        transaction_id = given if usable else new_transaction_id()
        scope.setdefault("state", {})["transaction_id"] = transaction_id
        scope["path"] = _path(scope)

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[TRANSACTION_ID_HEADER] = transaction_id
                headers.update(scope["state"].get("cors", _CORS))
            await send(message)

        await self._app(scope, receive, send_marked)


def _too_long(scope: Scope) -> Response | None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_LINE:
        text = f"URI length exceeds the configured limit of {MAX_LINE} characters"
        return PlainText(text, 414, {"connection": "close"})
    if any(len(text) > MAX_LINE for _, text in scope["headers"]):
        text = f"HTTP header value exceeds the configured limit of {MAX_LINE} characters"
        return PlainText(text, 431, {"connection": "close"})
    return None


def _path(scope: Scope) -> str:
    """The path with its segments decoded one by one: a slash within one is no separator.

    Web actions have a path of their own, which is theirs to read.
    """
    path = str(scope["path"])
    if b"%2f" not in scope["raw_path"].lower() or path.startswith(WEB_ROOT):
        return path
    segments = scope["raw_path"].decode("ascii", errors="replace").split("/")
    return "/".join(unquote(segment).replace("/", _SLASH_WITHIN) for segment in segments)


def new_transaction_id() -> str:
    return "".join(secrets.choice(_TRANSACTION_ALPHABET) for _ in range(32))


def refusal(request: Request, error: ApiError) -> Reply:
    """The reply that says why a request is refused."""
    code = request.state.transaction_id
    if error.rejection:
        request.state.cors = {}
    reply = Reply({"error": error.message, "code": code}, error.status)
    for name, text in error.headers:
        reply.headers[name] = text
    return reply


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return refusal(request, error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(request, no_route(request.scope["path"], only_get=error.status_code == 405))


async def _on_deep_json(request: Request, _error: Exception) -> Response:
    return refusal(request, malformed(DEEP))


async def _on_lost_state(request: Request, error: Exception) -> Response:
    why = f"The platform's state cannot be written ({error}): make room in its folder."
    return refusal(request, ApiError(500, why))


async def _on_bug(request: Request, _error: Exception) -> Response:
    return refusal(request, ApiError(500, INTERNAL_ERROR))


EXCEPTION_HANDLERS: dict[type[Exception], ExceptionHandler] = {
    ApiError: _on_api_error,
    HTTPException: _on_http_error,
    # What was shallow enough to be read need not be shallow enough to be written.
    RecursionError: _on_deep_json,
    sqlite3.Error: _on_lost_state,
    Exception: _on_bug,
}
