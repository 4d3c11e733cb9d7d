"""OpenWhisk's REST API: routes, authentication, entitlement, and the envelope of every reply."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from disdel.embedded import pages
from disdel.embedded.activations import Record, check_activation_id
from disdel.embedded.entities import NAMESPACE, Json, check_name, read_action_put
from disdel.embedded.envelope import EXCEPTION_HANDLERS, Envelope, Reply
from disdel.embedded.invocations import Invocations
from disdel.embedded.invoker import now_ms
from disdel.embedded.limits import MAX_PAYLOAD_BYTES, PlatformLimits
from disdel.embedded.query import Page, Query, read_object
from disdel.embedded.replies import (
    BAD_AUTHENTICATION,
    DOCS_WITH_COUNT,
    NO_ROUTE,
    NOT_AUTHENTICATED,
    ApiError,
    forbidden,
)
from disdel.embedded.store import EntityStore

ACTIVATION_ID_HEADER = "x-openwhisk-activation-id"
_CHALLENGE = ("www-authenticate", 'Basic realm="OpenWhisk secure realm",charset=UTF-8')


class Api:
    """The handlers, over the stores of one platform.

    Args:
        auth: the one user's key, `uuid:secret`.
        enforcement: how memory limits are enforced, for the information page.
    """

    def __init__(
        self,
        auth: str,
        allowed: PlatformLimits,
        enforcement: str,
        entities: EntityStore,
        invocations: Invocations,
    ) -> None:
        self._key = auth.encode()
        self._allowed = allowed
        self._enforcement = enforcement
        self._entities = entities
        self._invocations = invocations

    def application(self) -> ASGIApp:
        namespace = "/api/v1/namespaces/{ns}"
        entity = ["GET", "PUT", "DELETE"]
        action = [*entity, "POST"]
        routes = [
            Route("/", self.info),
            Route("/ping", self.ping),
            Route("/api/v1", self.api_info),
            Route("/api/v1/namespaces", self.namespaces),
            Route(f"{namespace}/limits", self.namespace_limits),
            Route(f"{namespace}/packages", self.list_packages),
            Route(f"{namespace}/packages/{{name}}", self.package, methods=entity),
            Route(f"{namespace}/actions", self.list_actions),
            Route(f"{namespace}/actions/{{name}}", self.action, methods=action),
            Route(f"{namespace}/actions/{{package}}/", self.list_actions),
            Route(f"{namespace}/actions/{{package}}/{{name}}", self.action, methods=action),
            Route(f"{namespace}/activations", self.list_activations),
            Route(f"{namespace}/activations/{{id}}", self.activation),
            Route(f"{namespace}/activations/{{id}}/{{part}}", self.activation),
        ]
        app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
        app.router.redirect_slashes = False
        return Envelope(app)

    async def ping(self, _request: Request) -> Response:
        return PlainTextResponse("pong")

    async def info(self, _request: Request) -> Response:
        return Reply(pages.platform_info(self._allowed, self._enforcement))

    async def api_info(self, _request: Request) -> Response:
        return Reply(pages.API_INFO)

    async def namespaces(self, request: Request) -> Response:
        self._authenticate(request)
        return Reply([NAMESPACE])

    async def namespace_limits(self, request: Request) -> Response:
        self._enter(request)
        return Reply(pages.namespace_limits(self._allowed))

    async def list_packages(self, request: Request) -> Response:
        self._authenticate(request)
        page = Query(request.query_params).page("packages")
        # Anyone may ask for anyone's public packages; only one namespace has packages at all.
        own = request.path_params["ns"] in ("_", NAMESPACE)
        return _list("packages", (p.summary() for p in self._entities.packages() if own), page)

    async def package(self, request: Request) -> Response:
        name = self._enter(request, "name")
        query = Query(request.query_params)
        entities = self._entities
        if request.method == "PUT":
            overwrite = query.flag("overwrite")
            wire = await read_object(request, required=True)
            made = entities.put_package(name, wire, overwrite=overwrite, now_ms=now_ms())
            return Reply(made.to_wire())
        if request.method == "DELETE":
            return Reply(entities.delete_package(name, force=query.flag("force")).to_wire())
        package = entities.package(name)
        listed: dict[str, list[Json]] = {"actions": [], "feeds": []}
        for action in entities.actions(name):
            wire = action.summary()
            entry = {key: wire[key] for key in ("name", "version", "annotations")}
            listed["feeds" if "feed" in action.annotations else "actions"].append(entry)
        return Reply({**package.to_wire(), **listed})

    async def list_actions(self, request: Request) -> Response:
        self._enter(request, "package")
        page = Query(request.query_params).page("actions")
        package = request.path_params.get("package")
        if package is not None:
            self._entities.package(package)
        return _list("actions", (a.summary() for a in self._entities.actions(package)), page)

    async def action(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._invoke(request)
        name = self._enter(request, "name", "package")
        package = request.path_params.get("package")
        query = Query(request.query_params)
        entities = self._entities
        if request.method == "PUT":
            overwrite = query.flag("overwrite")
            put = read_action_put(await read_object(request, required=True))
            made = entities.put_action(package, name, put, overwrite=overwrite, now_ms=now_ms())
            return Reply(made.to_wire())
        if request.method == "DELETE":
            return Reply(entities.delete_action(package, name).to_wire())
        with_code = query.flag("code", default=True)
        action = entities.action(package, name)
        inherited = entities.inherited(package)
        return Reply(action.to_wire(with_code=with_code, inherited=inherited))

    async def _invoke(self, request: Request) -> Response:
        self._authenticate(request)
        name = self._check_names(request, "name", "package")
        self._invocations.throttle.attempt(time.time())
        self._entitle(request)
        payload = await read_object(
            request, required=False, field="Request", allowed_bytes=MAX_PAYLOAD_BYTES
        )
        query = Query(request.query_params)
        blocking, only_result = query.flag("blocking"), query.flag("result")
        timeout_s = query.blocking_timeout_s()
        package = request.path_params.get("package")
        invocation = self._invocations.submit(
            self._entities.action(package, name),
            self._entities.inherited(package),
            payload,
            transaction_id=request.state.transaction_id,
            api_key=self._key.decode(),
        )
        headers = {ACTIVATION_ID_HEADER: invocation.id}
        record = await self._invocations.wait(invocation, timeout_s) if blocking else None
        if record is None:
            return Reply({"activationId": invocation.id}, 202, headers)
        # An array is a sequence's business, and is given out bare.
        bare = only_result or isinstance(record.response.result, list)
        body = record.response.result if bare else record.to_wire(with_logs=False)
        return Reply(body, record.response.http_status, headers)

    async def list_activations(self, request: Request) -> Response:
        self._enter(request)
        query = Query(request.query_params)
        page, docs = query.page("activations"), query.flag("docs")
        if page.count and docs:
            raise ApiError(400, DOCS_WITH_COUNT)
        records = self._invocations.store.select(
            name=query.values.get("name"),
            since_ms=query.instant_ms("since"),
            upto_ms=query.instant_ms("upto"),
        )
        view = Record.to_wire if docs else Record.summary
        return _list("activations", (view(record) for record in records), page)

    async def activation(self, request: Request) -> Response:
        self._enter(request)
        activation_id = check_activation_id(request.path_params["id"])
        part = request.path_params.get("part")
        if part not in (None, "logs", "result"):
            raise ApiError(404, NO_ROUTE)
        record = self._invocations.store.get(activation_id)
        if part == "logs":
            return Reply({"logs": list(record.logs)})
        return Reply(record.response.to_wire() if part == "result" else record.to_wire())

    def _enter(self, request: Request, *names: str) -> str:
        """Authenticate, check the names in the path, and see that the namespace is the user's."""
        self._authenticate(request)
        name = self._check_names(request, *names)
        self._entitle(request)
        return name

    def _authenticate(self, request: Request) -> None:
        given = request.headers.get("authorization")
        if given is None:
            raise ApiError(401, NOT_AUTHENTICATED, headers=(_CHALLENGE,))
        scheme, _, credentials = given.partition(" ")
        try:
            key = base64.b64decode(credentials, validate=True) if scheme.lower() == "basic" else b""
        except ValueError:
            key = b""
        if not hmac.compare_digest(key, self._key):
            raise ApiError(401, BAD_AUTHENTICATION, headers=(_CHALLENGE,))

    @staticmethod
    def _check_names(request: Request, *names: str) -> str:
        """Check those path parameters that are there, and return the first."""
        given = [check_name(request.path_params[n]) for n in names if n in request.path_params]
        return given[0] if given else ""

    @staticmethod
    def _entitle(request: Request) -> None:
        parameters = request.path_params
        if parameters["ns"] not in ("_", NAMESPACE):
            parts = (parameters.get(key) for key in ("ns", "package", "name"))
            raise forbidden("/".join(part for part in parts if part))


def _list(collection: str, entries: Iterable[dict[str, Json]], page: Page) -> Reply:
    rows = list(entries)
    shown = rows[page.skip :]
    return Reply({collection: len(shown)} if page.count else shown[: page.limit])
