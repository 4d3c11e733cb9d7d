"""Handlers of what happens: invoking, firing, switching, and reading the records."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from openwhisk_local.entities.execs import Sequence
from openwhisk_local.entities.fields import Json
from openwhisk_local.entities.rulebook import Rulebook
from openwhisk_local.entities.rules import Rule, Trigger, read_status
from openwhisk_local.entities.store import EntityStore
from openwhisk_local.invoking.activations import check_activation_id
from openwhisk_local.invoking.conductors import is_conductor
from openwhisk_local.invoking.firing import Firing
from openwhisk_local.invoking.invocations import Invocations
from openwhisk_local.invoking.record_store import Kept, RecordStore
from openwhisk_local.limits import MAX_PAYLOAD_BYTES
from openwhisk_local.replies import DOCS_WITH_COUNT, NO_ROUTE, ApiError
from openwhisk_local.rest.addressing import caller_of, check_entitled, entity_name, own_entity
from openwhisk_local.rest.bodies import json_array, read_object
from openwhisk_local.rest.envelope import JsonText, PlainText, Reply
from openwhisk_local.rest.query import Query
from openwhisk_local.rest.throttle import Throttle

ACTIVATION_ID_HEADER = "x-openwhisk-activation-id"


async def _payload(request: Request) -> dict[str, Json]:
    return await read_object(
        request, required=False, field="Request", allowed_bytes=MAX_PAYLOAD_BYTES
    )


class InvokeRoutes:
    """POST to an action, a trigger or a rule."""

    def __init__(
        self,
        entities: EntityStore,
        rulebook: Rulebook,
        throttle: Throttle,
        invocations: Invocations,
        firing: Firing,
    ) -> None:
        self._entities = entities
        self._rulebook = rulebook
        self._throttle = throttle
        self._invocations = invocations
        self._firing = firing

    async def action(self, request: Request) -> Response:
        """Invoke an action: `POST …/actions/NAME`."""
        name = entity_name(request)
        self._throttle.attempt(time.time())
        check_entitled(request)
        payload = await _payload(request)
        query = Query(request.query_params)
        blocking, only_result = query.flag("blocking"), query.flag("result")
        timeout_s = query.blocking_timeout_s()
        resolved = self._entities.resolve(name)
        pending = self._invocations.invoke(resolved, payload, caller_of(request))
        headers = {ACTIVATION_ID_HEADER: pending.id}
        record = await pending.wait(timeout_s) if blocking else None
        if record is None:
            return Reply({"activationId": pending.id}, 202, headers)
        # An array is a sequence's business, and is given out bare.
        bare = only_result or isinstance(record.response.result, list)
        # The log of several actions is known when they end, one's is collected after the answer.
        with_logs = isinstance(resolved.action.exec, Sequence) or is_conductor(resolved.action)
        body = record.response.result if bare else record.to_wire(with_logs=with_logs)
        return Reply(body, record.response.http_status, headers)

    async def trigger(self, request: Request) -> Response:
        """Fire a trigger: `POST …/triggers/NAME`."""
        name = entity_name(request)
        self._throttle.attempt_fire(time.time())
        check_entitled(request)
        payload = await _payload(request)
        trigger = self._entities.get(Trigger, name)
        fired = self._firing.fire(trigger, payload, request.headers, caller_of(request))
        if fired is None:
            return Response(status_code=204)
        return Reply({"activationId": fired}, 202, {ACTIVATION_ID_HEADER: fired})

    async def rule(self, request: Request) -> Response:
        name = own_entity(request)
        status = read_status(await read_object(request, required=True))
        self._rulebook.set_status(self._entities.get(Rule, name), status)
        return PlainText("OK")


class RecordRoutes:
    """GET of activation records."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store

    async def list(self, request: Request) -> Response:
        """The records of a namespace: `GET …/activations`.

        Raises:
            ApiError: the query is refused (400).
        """
        check_entitled(request)
        query = Query(request.query_params)
        page, docs = query.page("activations"), query.flag("docs")
        records = self._store.select(
            name=query.action_name(),
            since_ms=query.instant_ms("since"),
            upto_ms=query.instant_ms("upto"),
        )[page.skip :]
        if page.count and docs:
            raise ApiError(400, DOCS_WITH_COUNT)
        if page.count:
            return Reply({"activations": len(records)})
        shown = records[: page.limit]
        return json_array(kept.whole if docs else kept.summary for kept in shown)

    async def get(self, request: Request) -> Response:
        return JsonText(self._record(request).whole)

    async def part(self, request: Request) -> Response:
        """The logs or the result of a record: `GET …/activations/ID/PART`.

        Raises:
            ApiError: there is no such part or record (404).
        """
        part = request.path_params["part"]
        if part == "logs":
            return JsonText(b'{"logs":%b}' % self._record(request).logs)
        if part == "result":
            return JsonText(self._record(request).response)
        self._check(request)
        raise ApiError(404, NO_ROUTE, rejection=True)

    def _record(self, request: Request) -> Kept:
        return self._store.get(self._check(request))

    @staticmethod
    def _check(request: Request) -> str:
        activation_id = check_activation_id(request.path_params["id"])
        check_entitled(request)
        return activation_id
