"""Web actions: actions that anyone may call by URL, without a key, as a web page would.

`/api/v1/web/NAMESPACE/PACKAGE/NAME.EXT/PATH`, after core/controller WebActions.scala. The
annotations of an action decide: `web-export` publishes it, `raw-http` hands it the request as it
came, `require-whisk-auth` asks for a key or a secret, `web-custom-options` lets it answer
preflights.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import Response

from openwhisk_local.entities.actions import Action
from openwhisk_local.entities.fields import Json
from openwhisk_local.entities.names import Name, check_name
from openwhisk_local.entities.store import EntityStore, Resolved
from openwhisk_local.invoking.activations import APPLICATION_ERROR, SUCCESS, Record
from openwhisk_local.invoking.invocations import Invocations
from openwhisk_local.json_text import parse_json
from openwhisk_local.limits import MAX_BLOCKING_MS, MAX_PAYLOAD_BYTES
from openwhisk_local.replies import (
    ERROR_PROCESSING,
    NO_RESOURCE,
    NO_SUCH_PROPERTY,
    NOT_AUTHENTICATED,
    NOT_PERMITTED_PARAMETERS,
    NOT_READY,
    ApiError,
)
from openwhisk_local.rest.activation_routes import ACTIVATION_ID_HEADER
from openwhisk_local.rest.addressing import caller_of, own_namespace
from openwhisk_local.rest.bodies import read_body
from openwhisk_local.rest.throttle import Throttle
from openwhisk_local.rest.web_replies import (
    EXTENSIONS,
    WebReply,
    is_binary,
    is_json_family,
    media_type_of,
)

METHODS = ("GET", "DELETE", "POST", "PUT", "HEAD", "OPTIONS", "PATCH")
_SECRET_HEADER = "x-require-whisk-auth"
_FORM = "application/x-www-form-urlencoded"
_RESERVED = frozenset(
    f"__ow_{name}" for name in ("method", "headers", "path", "user", "query", "body")
)
# How the message is sent, which is not the action's business.
_TRANSPORT = frozenset({"content-length", "transfer-encoding", "connection", "content-type"})
_ALLOW_HEADERS = "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent"


@dataclass(frozen=True, slots=True)
class _Target:
    """What a URL asks for."""

    resolved: Resolved
    answer: Callable[[Json], WebReply]
    path: str

    def flag(self, annotation: str) -> bool:
        return self.resolved.action.annotations.get(annotation) is True


class WebRoutes:
    """Requests to web actions, of whatever method."""

    def __init__(self, entities: EntityStore, throttle: Throttle, invocations: Invocations) -> None:
        self._entities = entities
        self._throttle = throttle
        self._invocations = invocations

    async def action(self, request: Request) -> Response:
        """Invoke a web action, by any method.

        Raises:
            ApiError: it wants a key that the request does not have (401).
        """
        # An action that answers preflights itself sends these headers itself.
        request.state.cors = {}
        target = self._target(request)
        self._throttle.attempt(time.time())
        own_options = target.flag("web-custom-options")
        if not own_options:
            request.state.cors = _cors(request)
            if request.method == "OPTIONS":
                return Response()
        preflight = own_options and request.method == "OPTIONS"
        if not preflight and not _is_authorized(target.resolved.action, request):
            raise ApiError(401, NOT_AUTHENTICATED)
        return await self._run(request, target)

    def _target(self, request: Request) -> _Target:
        """The exported action; what is not there and what is not exported look the same."""
        namespace, package = request.path_params["ns"], request.path_params["package"]
        name, _, path = request.path_params["rest"].partition("/")
        extension = next((known for known in EXTENSIONS if name.endswith(known)), None)
        base = name.removesuffix(extension or "")
        try:
            within = None if package == "default" else check_name(package)
            place = Name(within, check_name(base), own_namespace(request))
            resolved = self._entities.resolve(place) if namespace == place.space else None
        except ApiError:
            resolved = None
        # A binding leads nowhere, as upstream looks the action up by its own place.
        if (
            resolved is None
            or resolved.binding is not None
            or resolved.action.annotations.get("web-export") is not True
        ):
            raise ApiError(404, NO_RESOURCE)
        slash = "/" if "/" in request.path_params["rest"] else ""
        return _Target(resolved, EXTENSIONS[extension or ".http"], slash + path)

    async def _run(self, request: Request, target: _Target) -> Response:
        raw = target.flag("raw-http")
        body = _body(request, await read_body(request, "Request", MAX_PAYLOAD_BYTES), raw=raw)
        query = parse_qsl(request.url.query, keep_blank_values=True)
        if not raw:
            given = {name for name, _ in query} | (body.keys() if isinstance(body, dict) else set())
            if given & _RESERVED:
                raise ApiError(400, NOT_PERMITTED_PARAMETERS)
        arguments = _context(request, target.path)
        if raw:
            arguments["__ow_query"] = request.url.query
            arguments["__ow_body"] = "" if body is None else body
        else:
            arguments |= dict(query)
            if isinstance(body, dict):
                arguments |= body
            elif body is not None:
                arguments["__ow_body"] = body
        pending = self._invocations.invoke(target.resolved, arguments, caller_of(request))
        record = await pending.wait(MAX_BLOCKING_MS / 1000)
        try:
            response = _answer(record, target.answer, request.headers.get("accept"))
        except ApiError as error:
            marked = (*error.headers, (ACTIVATION_ID_HEADER, pending.id))
            raise ApiError(error.status, error.message, headers=marked) from None
        response.headers[ACTIVATION_ID_HEADER] = pending.id
        return response


def _answer(
    record: Record | None, answer: Callable[[Json], WebReply], accept: str | None
) -> Response:
    if record is None:
        raise ApiError(202, NOT_READY)
    result = record.response.result
    if record.response.code == APPLICATION_ERROR:
        if not isinstance(result, dict) or "error" not in result:
            raise ApiError(404, NO_SUCH_PROPERTY)
        result = result["error"]
    elif record.response.code != SUCCESS:
        raise ApiError(400, ERROR_PROCESSING)
    return answer(result).response(accept)


def _context(request: Request, path: str) -> dict[str, Json]:
    """The request as the action sees it, but for its query and body."""
    headers: dict[str, Json] = {
        name: value for name, value in request.headers.items() if name not in _TRANSPORT
    }
    if "content-type" in request.headers:
        headers["content-type"] = request.headers["content-type"]
    context: dict[str, Json] = {
        "__ow_method": request.method.lower(),
        "__ow_headers": headers,
        "__ow_path": quote(path, safe="/:@!$&'()*+,;=-._~"),
    }
    if request.state.authenticated:
        context["__ow_user"] = own_namespace(request)
    return context


def _body(request: Request, data: bytes, *, raw: bool) -> Json:
    """The body as an argument: JSON and forms as what they say, else text, or bytes in base64."""
    content_type = request.headers.get("content-type")
    if content_type is None and not data:
        return None
    media_type = media_type_of(content_type or "application/octet-stream")
    if not raw and is_json_family(media_type):
        return parse_json(data) if data else None
    if not raw and media_type == _FORM:
        return dict(parse_qsl(data.decode(errors="replace"), keep_blank_values=True))
    if is_binary(media_type) or media_type == "application/json":
        return base64.b64encode(data).decode()
    return data.decode(errors="replace")


def _is_authorized(action: Action, request: Request) -> bool:
    wanted = action.annotations.get("require-whisk-auth", False)
    if isinstance(wanted, bool):
        return bool(request.state.authenticated) or not wanted
    if isinstance(wanted, str | int | float):
        secret = wanted if isinstance(wanted, str) else json.dumps(wanted)
        given = request.headers.get(_SECRET_HEADER, "")
        return hmac.compare_digest(given.encode(), secret.encode())
    return False


def _cors(request: Request) -> dict[str, str]:
    asked = request.headers.get("access-control-request-headers")
    return {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH",
        "access-control-allow-headers": asked or _ALLOW_HEADERS,
    }
