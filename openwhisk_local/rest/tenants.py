"""Several namespaces behind one address: each with its key, and an API that knows no other."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from openwhisk_local.rest.envelope import WEB_ROOT
from openwhisk_local.rest.gate import key_of


@dataclass(frozen=True, slots=True)
class Tenant:
    """One namespace: its key, `uuid:secret`, and its API."""

    key: str
    app: ASGIApp


class Tenants:
    """Hands a request to the namespace that its key belongs to, or that a web action's URL names.

    What belongs to none is the first one's to refuse.
    """

    def __init__(self, tenants: Mapping[str, Tenant]) -> None:
        self._tenants = tenants
        self._first = next(iter(tenants.values()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tenant = self._chosen(scope) if scope["type"] == "http" else self._first
        await tenant.app(scope, receive, send)

    def _chosen(self, scope: Scope) -> Tenant:
        path = str(scope["path"])
        if path.startswith(WEB_ROOT):
            named = path.removeprefix(WEB_ROOT).partition("/")[0]
            return self._tenants.get(named, self._first)
        given = key_of(Headers(scope=scope).get("authorization"))
        for tenant in self._tenants.values():
            if hmac.compare_digest(given, tenant.key.encode()):
                return tenant
        return self._first
