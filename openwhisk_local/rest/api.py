"""OpenWhisk's REST API: which handler takes which request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from openwhisk_local.containers.isolation import Enforcement
from openwhisk_local.containers.namespaces import Isolation
from openwhisk_local.entities.rulebook import Rulebook
from openwhisk_local.entities.store import EntityStore
from openwhisk_local.invoking.firing import Firing
from openwhisk_local.invoking.invocations import Invocations
from openwhisk_local.invoking.record_store import RecordStore
from openwhisk_local.limits import PlatformLimits
from openwhisk_local.metrics import CONTENT_TYPE, Metrics
from openwhisk_local.replies import NO_LIMIT_ENTITIES, ApiError
from openwhisk_local.rest import api_docs, pages
from openwhisk_local.rest.activation_routes import InvokeRoutes, RecordRoutes
from openwhisk_local.rest.addressing import check_entitled
from openwhisk_local.rest.entity_routes import (
    ActionRoutes,
    PackageRoutes,
    RuleRoutes,
    TriggerRoutes,
)
from openwhisk_local.rest.envelope import (
    API_ROOT,
    EXCEPTION_HANDLERS,
    WEB_ROOT,
    Envelope,
    PlainText,
    Reply,
)
from openwhisk_local.rest.gate import Gate
from openwhisk_local.rest.throttle import Throttle
from openwhisk_local.rest.web_routes import METHODS, WebRoutes

_NS = f"{API_ROOT}/namespaces/{{ns}}"


class Api:
    """The application over the parts of one platform.

    Args:
        namespace: whose API it is.
        auth: its key, `uuid:secret`.
        enforcement: how limits are enforced, for the information page.
        isolation: how containers are kept apart, for the same.
    """

    def __init__(
        self,
        *,
        namespace: str,
        auth: str,
        allowed: PlatformLimits,
        enforcement: Enforcement,
        isolation: Isolation,
        entities: EntityStore,
        throttle: Throttle,
        invocations: Invocations,
        firing: Firing,
        store: RecordStore,
        metrics: Metrics,
    ) -> None:
        self._throttle = throttle
        self._metrics = metrics
        self._namespace = namespace
        self._auth = auth
        self._allowed = allowed
        self._enforcement = enforcement
        self._isolation = isolation
        rulebook = Rulebook(entities)
        self._packages = PackageRoutes(entities)
        self._actions = ActionRoutes(entities)
        self._triggers = TriggerRoutes(entities, rulebook)
        self._rules = RuleRoutes(entities, rulebook)
        self._invoke = InvokeRoutes(entities, rulebook, throttle, invocations, firing)
        self._records = RecordRoutes(store)
        self._web = WebRoutes(entities, throttle, invocations)

    def application(self) -> ASGIApp:
        """What a server serves."""
        app = Starlette(
            routes=[*self._pages(), *self._entities(), *self._activations()],
            middleware=[Middleware(Gate, auth=self._auth, namespace=self._namespace)],
            exception_handlers=EXCEPTION_HANDLERS,
        )
        app.router.redirect_slashes = False
        return Envelope(app)

    def _pages(self) -> list[Route]:
        return [
            Route("/", self.info),
            Route("/ping", self.ping),
            Route("/metrics", self.metrics),
            *(
                route
                for root in ("", API_ROOT)
                for route in (
                    *_with_slash(f"{root}/api-docs", self.api_docs),
                    Route(f"{root}/docs", self.docs),
                    Route(f"{root}/docs/index.html", self.docs_page),
                )
            ),
            *_with_slash(API_ROOT, self.api_info),
            *_with_slash(f"{API_ROOT}/namespaces", self.namespaces),
            *_with_slash(f"{_NS}/limits", self.namespace_limits),
            Route(f"{_NS}/limits/{{name}}", self.no_limit_entity),
        ]

    def _entities(self) -> list[Route]:
        collections: list[tuple[str, _Handlers]] = [
            ("packages", self._packages),
            ("actions", self._actions),
            ("triggers", self._triggers),
            ("rules", self._rules),
        ]
        routes = [
            Route(f"{_NS}/actions/{{package}}/", self._actions.list_package),
            *_entity(f"{_NS}/actions/{{package}}/{{name}}", self._actions),
        ]
        for collection, handlers in collections:
            routes += _with_slash(f"{_NS}/{collection}", handlers.list)
            routes += _entity(f"{_NS}/{collection}/{{name}}", handlers)
        return routes

    def _activations(self) -> list[Route]:
        records = f"{_NS}/activations"
        return [
            Route(f"{_NS}/actions/{{name}}", self._invoke.action, methods=["POST"]),
            Route(f"{_NS}/actions/{{package}}/{{name}}", self._invoke.action, methods=["POST"]),
            Route(f"{_NS}/triggers/{{name}}", self._invoke.trigger, methods=["POST"]),
            Route(f"{_NS}/rules/{{name}}", self._invoke.rule, methods=["POST"]),
            *_with_slash(records, self._records.list),
            *_with_slash(f"{records}/{{id}}", self._records.get),
            Route(f"{records}/{{id}}/{{part}}", self._records.part),
            Route(f"{WEB_ROOT}{{ns}}/{{package}}/{{rest:path}}", self._web.action, methods=METHODS),
        ]

    async def ping(self, request: Request) -> Response:
        request.state.cors = {}
        return PlainText("pong")

    async def info(self, request: Request) -> Response:
        request.state.cors = {}
        return Reply(pages.platform_info(self._allowed, self._enforcement, self._isolation))

    async def metrics(self, request: Request) -> Response:
        """The counters in Prometheus's form: `GET /metrics`."""
        request.state.cors = {}
        text = self._metrics.text(
            self._namespace,
            per_minute=self._throttle.refused_per_minute,
            at_once=self._throttle.refused_at_once,
        )
        return Response(text, headers={"content-type": CONTENT_TYPE})

    async def api_docs(self, _request: Request) -> Response:
        return Reply(api_docs.DOCUMENT)

    async def docs(self, request: Request) -> Response:
        root = request.scope["path"].removesuffix("/docs")
        return RedirectResponse(f"docs/index.html?url={root}/api-docs", 308)

    async def docs_page(self, _request: Request) -> Response:
        return HTMLResponse(api_docs.page())

    async def api_info(self, _request: Request) -> Response:
        return Reply(pages.API_INFO)

    async def namespaces(self, _request: Request) -> Response:
        return Reply([self._namespace])

    async def namespace_limits(self, request: Request) -> Response:
        check_entitled(request)
        return Reply(pages.namespace_limits(self._allowed))

    async def no_limit_entity(self, _request: Request) -> Response:
        """Refuse to change a namespace's limits, which upstream keeps elsewhere, too (400)."""
        raise ApiError(400, NO_LIMIT_ENTITIES)


_Handlers = PackageRoutes | ActionRoutes | TriggerRoutes | RuleRoutes
_Handler = Callable[[Request], Awaitable[Response]]


def _with_slash(path: str, handler: _Handler) -> list[Route]:
    return [Route(path, handler), Route(f"{path}/", handler)]


def _entity(path: str, handlers: _Handlers) -> list[Route]:
    return [
        Route(path, handlers.get),
        Route(path, handlers.put, methods=["PUT"]),
        Route(path, handlers.delete, methods=["DELETE"]),
    ]
