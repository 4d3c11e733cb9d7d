"""Handlers of the entities: made, read, listed and deleted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from openwhisk_local.entities.actions import Action, ActionPut, read_action_put
from openwhisk_local.entities.fields import CommonPut, Json
from openwhisk_local.entities.names import check_name
from openwhisk_local.entities.packages import (
    Package,
    PackagePut,
    contents_to_wire,
    read_package_put,
)
from openwhisk_local.entities.rulebook import Rulebook
from openwhisk_local.entities.rules import Rule, RulePut, Trigger, read_rule_put, read_trigger_put
from openwhisk_local.entities.store import EntityStore
from openwhisk_local.invoking.invocation import now_ms
from openwhisk_local.limits import MAX_BODY_BYTES
from openwhisk_local.replies import ApiError, no_such_resource
from openwhisk_local.rest.addressing import (
    check_entitled,
    is_own_namespace,
    list_reply,
    own_entity,
    own_namespace,
)
from openwhisk_local.rest.bodies import beside_the_loop, read_object
from openwhisk_local.rest.envelope import Reply
from openwhisk_local.rest.query import Query

C = TypeVar("C")


async def _put(
    request: Request,
    check: Callable[[dict[str, Json]], C],
    store: Callable[[C, bool], Callable[[], Json]],
) -> Response:
    """Answer a PUT: `check` reads its body, `store` makes of that what `show` then shows."""
    overwrite = Query(request.query_params).flag("overwrite")
    wire = await read_object(request, required=True)
    size_bytes = int(request.headers.get("content-length", MAX_BODY_BYTES))
    checked = await beside_the_loop(size_bytes, lambda: check(wire))
    show = store(checked, overwrite)
    return await beside_the_loop(size_bytes, lambda: Reply(show()))


class PackageRoutes:
    def __init__(self, entities: EntityStore) -> None:
        self._entities = entities

    async def list(self, request: Request) -> Response:
        page = Query(request.query_params).page("packages")
        # Anyone may ask for anyone's public packages; only one namespace has packages at all.
        packages = self._entities.every(Package) if is_own_namespace(request) else []
        return list_reply("packages", packages, page)

    async def put(self, request: Request) -> Response:
        """Make or change a package: `PUT …/packages/NAME`."""
        name, own = own_entity(request).name, own_namespace(request)

        def store(put: PackagePut, overwrite: bool) -> Callable[[], Json]:
            entities = self._entities
            return entities.put_package(name, put, overwrite=overwrite, now_ms=now_ms()).to_wire

        return await _put(request, lambda wire: read_package_put(name, wire, own), store)

    async def get(self, request: Request) -> Response:
        """A package with its contents: `GET …/packages/NAME`.

        Raises:
            ApiError: there is none (404).
        """
        name = own_entity(request)
        try:
            package = self._entities.package(name.name)
            provider = self._entities.provider(package)
        except ApiError as error:
            # Where the right to read depends on the entity, its absence is told by its name.
            raise no_such_resource(name.path) if error.status == 404 else error from None
        inherited = provider.parameters if package.binding else None
        contents = contents_to_wire(self._entities.contents(package))
        return Reply({**package.to_wire(inherited=inherited), **contents})

    async def delete(self, request: Request) -> Response:
        name = own_entity(request)
        force = Query(request.query_params).flag("force")
        return Reply(self._entities.delete_package(name.name, force=force).to_wire())


class ActionRoutes:
    def __init__(self, entities: EntityStore) -> None:
        self._entities = entities

    async def list(self, request: Request) -> Response:
        check_entitled(request)
        page = Query(request.query_params).page("actions")
        return list_reply("actions", self._entities.every(Action), page)

    async def list_package(self, request: Request) -> Response:
        check_name(request.path_params["package"])
        check_entitled(request)
        contents = self._entities.contents(self._entities.package(request.path_params["package"]))
        page = Query(request.query_params).page("actions")
        return list_reply("actions", contents, page)

    async def put(self, request: Request) -> Response:
        """Make or change an action: `PUT …/actions/NAME`."""
        name = own_entity(request)
        self._entities.check_owned(name)

        def store(put: ActionPut, overwrite: bool) -> Callable[[], Json]:
            entities = self._entities
            return entities.put_action(name, put, overwrite=overwrite, now_ms=now_ms()).to_wire

        return await _put(request, lambda wire: read_action_put(wire, name.space), store)

    async def get(self, request: Request) -> Response:
        """An action, with its code or without: `GET …/actions/NAME`."""
        name = own_entity(request)
        with_code = Query(request.query_params).flag("code", default=True)
        resolved = self._entities.resolve(name)
        wire = resolved.action.to_wire(
            with_code=with_code, inherited=resolved.inherited, binding=resolved.binding
        )
        return Reply(wire)

    async def delete(self, request: Request) -> Response:
        name = own_entity(request)
        self._entities.check_owned(name)
        return Reply(self._entities.delete(Action, name).to_wire())


class TriggerRoutes:
    def __init__(self, entities: EntityStore, rulebook: Rulebook) -> None:
        self._entities = entities
        self._rulebook = rulebook

    async def list(self, request: Request) -> Response:
        check_entitled(request)
        page = Query(request.query_params).page("triggers")
        return list_reply("triggers", self._entities.every(Trigger), page)

    async def put(self, request: Request) -> Response:
        """Make or change a trigger: `PUT …/triggers/NAME`."""
        name = own_entity(request)

        def store(put: CommonPut, overwrite: bool) -> Callable[[], Json]:
            book = self._rulebook
            return book.put_trigger(name, put, overwrite=overwrite, now_ms=now_ms()).to_wire

        return await _put(request, read_trigger_put, store)

    async def get(self, request: Request) -> Response:
        return Reply(self._entities.get(Trigger, own_entity(request)).to_wire())

    async def delete(self, request: Request) -> Response:
        return Reply(self._entities.delete(Trigger, own_entity(request)).to_wire())


class RuleRoutes:
    def __init__(self, entities: EntityStore, rulebook: Rulebook) -> None:
        self._entities = entities
        self._rulebook = rulebook

    async def list(self, request: Request) -> Response:
        check_entitled(request)
        page = Query(request.query_params).page("rules")
        return list_reply("rules", self._entities.every(Rule), page)

    async def put(self, request: Request) -> Response:
        """Make or change a rule: `PUT …/rules/NAME`."""
        name = own_entity(request)

        def store(put: RulePut, overwrite: bool) -> Callable[[], Json]:
            book = self._rulebook
            rule = book.put_rule(name, put, overwrite=overwrite, now_ms=now_ms())
            return partial(rule.to_wire, book.status(rule))

        return await _put(request, lambda wire: read_rule_put(wire, name.space), store)

    async def get(self, request: Request) -> Response:
        rule = self._entities.get(Rule, own_entity(request))
        return Reply(rule.to_wire(self._rulebook.status(rule)))

    async def delete(self, request: Request) -> Response:
        return Reply(self._rulebook.delete_rule(own_entity(request)).to_wire("inactive"))
