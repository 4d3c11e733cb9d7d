"""What a request's path names, and whether the user may go there; and the form of lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from openwhisk_local.entities.fields import Json, compact_json
from openwhisk_local.entities.names import DEFAULT_NAMESPACE, Name, check_name, check_namespace
from openwhisk_local.invoking.invocation import Caller
from openwhisk_local.replies import forbidden
from openwhisk_local.rest.bodies import json_array
from openwhisk_local.rest.envelope import Reply
from openwhisk_local.rest.query import Page


def entity_name(request: Request) -> Name:
    """The entity in the path of a request, with its parts checked; raises `ApiError` 400."""
    check_namespace(request.path_params["ns"])
    package = request.path_params.get("package")
    if package is not None:
        check_name(package)
    return Name(package, check_name(request.path_params["name"]), own_namespace(request))


def own_namespace(request: Request) -> str:
    """The namespace of the key that the gate has let through."""
    return str(request.state.namespace)


def is_own_namespace(request: Request) -> bool:
    """Raises `ApiError` 400 where no namespace can be called so."""
    own = own_namespace(request)
    return check_namespace(request.path_params["ns"]) in (DEFAULT_NAMESPACE, own)


def check_entitled(request: Request) -> None:
    """That the path lies in the user's namespace; raises `ApiError` 403 otherwise."""
    if not is_own_namespace(request):
        params = request.path_params
        # An action in a package is judged by its package.
        within = params.get("package") or params.get("name") or params.get("id")
        raise forbidden("/".join(part for part in (params["ns"], within) if part))


def own_entity(request: Request) -> Name:
    """The entity in the path, which must be the user's; raises `ApiError` 400 or 403."""
    name = entity_name(request)
    check_entitled(request)
    return name


def caller_of(request: Request) -> Caller:
    """Who sends a request that the gate has let through."""
    return Caller(request.state.transaction_id, request.state.key, request.state.namespace)


class _Listed(Protocol):
    def summary(self) -> dict[str, Json]: ...


def list_reply(collection: str, entities: Sequence[_Listed], page: Page) -> Response:
    """The answer with one page of a collection, or with its number of entities."""
    shown = entities[page.skip :]
    if page.count:
        return Reply({collection: len(shown)})
    return json_array(compact_json(entity.summary()) for entity in shown[: page.limit])
