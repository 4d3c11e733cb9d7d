"""What is answered before any route is looked at.

Web pages of others, preflights, foreign methods and wrong keys.
"""

from __future__ import annotations

import base64
import hmac

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from openwhisk_local.replies import BAD_AUTHENTICATION, NOT_AUTHENTICATED, ApiError
from openwhisk_local.rest.envelope import API_ROOT, WEB_ROOT, PlainText, is_api, no_route, refusal
from openwhisk_local.rest.origins import check_origin

# Every method that some route takes.
_METHODS = ("GET", "PUT", "POST", "DELETE")
_CHALLENGE = ("www-authenticate", 'Basic realm="OpenWhisk secure realm",charset=UTF-8')


def key_of(authorization: str | None) -> bytes:
    """The key in a header of that name, empty where there is none."""
    scheme, _, credentials = (authorization or "").partition(" ")
    try:
        return base64.b64decode(credentials, validate=True) if scheme.lower() == "basic" else b""
    except ValueError:
        return b""


def _is_documentation(path: str) -> bool:
    parts = path.removeprefix(API_ROOT).strip("/").split("/")
    return parts[0] in ("docs", "api-docs")


class Gate:
    """Lets the one user's requests pass, and those to public pages.

    Args:
        auth: the user's key, `uuid:secret`.
    """

    def __init__(self, app: ASGIApp, auth: str, namespace: str) -> None:
        self._app = app
        self._namespace = namespace
        self._auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request.state.key = self._auth
        request.state.namespace = self._namespace
        try:
            answer = self._answer(request)
        except ApiError as error:
            answer = refusal(request, error)
        await (answer or self._app)(scope, receive, send)

    def _answer(self, request: Request) -> Response | None:
        """The whole answer, or None for a request that passes; raises `ApiError`."""
        # Not by `url`, which is made of whatever the client calls this host.
        path, method = str(request.scope["path"]), request.method
        if path.startswith(WEB_ROOT):
            # For the public, web pages of others included, which may have a key all the same.
            request.state.authenticated = self._has_key(request.headers.get("authorization"))
            return None
        check_origin(request.headers)
        if method == "OPTIONS":
            return PlainText("OK")
        if (is_api(path) and not _is_documentation(path)) or path == "/metrics":
            self._check_api(path, method, request.headers.get("authorization"))
        if method not in _METHODS:
            raise no_route(path)
        return None

    def _check_api(self, path: str, method: str, authorization: str | None) -> None:
        if path.rstrip("/") == API_ROOT and method == "GET":
            return
        scheme = (authorization or "").partition(" ")[0]
        if authorization is None or scheme.lower() != "basic":
            raise ApiError(401, NOT_AUTHENTICATED, headers=(_CHALLENGE,))
        if not self._has_key(authorization):
            raise ApiError(401, BAD_AUTHENTICATION, headers=(_CHALLENGE,))

    def _has_key(self, authorization: str | None) -> bool:
        return hmac.compare_digest(key_of(authorization), self._auth.encode())
