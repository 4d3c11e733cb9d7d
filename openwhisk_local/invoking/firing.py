"""Fires a trigger: every active rule on it invokes its action."""

from __future__ import annotations

import time
from collections.abc import Mapping

from openwhisk_local.entities.fields import Json, compact_json
from openwhisk_local.entities.names import Name
from openwhisk_local.entities.rules import Link, Trigger
from openwhisk_local.entities.store import EntityStore
from openwhisk_local.invoking.activations import (
    APPLICATION_ERROR,
    SUCCESS,
    Record,
    Response,
    new_activation_id,
)
from openwhisk_local.invoking.invocation import Caller, now_ms
from openwhisk_local.invoking.invocations import Invocations
from openwhisk_local.invoking.record_store import RecordStore
from openwhisk_local.replies import ApiError, inactive_rule
from openwhisk_local.rest.throttle import Throttle

# Upstream's headers are those of the request, not those of what it carries.
_OF_THE_BODY = frozenset({"content-type", "content-length", "transfer-encoding"})


class Firing:
    """Fires triggers."""

    def __init__(
        self,
        entities: EntityStore,
        throttle: Throttle,
        invocations: Invocations,
        store: RecordStore,
    ) -> None:
        self._entities = entities
        self._throttle = throttle
        self._invocations = invocations
        self._store = store

    def fire(
        self,
        trigger: Trigger,
        payload: Mapping[str, Json],
        headers: Mapping[str, str],
        caller: Caller,
    ) -> str | None:
        """The id of the trigger's activation; None, and no record, when no rule is active.

        An action receives the trigger's parameters, the request's headers as `__ow_headers`, and
        the payload, of which later ones win.
        """
        if all(link.status == "inactive" for link in trigger.links.values()):
            return None
        stored = {key: parameter.value for key, parameter in trigger.parameters.items()}
        seen = {name: text for name, text in headers.items() if name not in _OF_THE_BODY}
        arguments = {**stored, "__ow_headers": seen, **payload}
        start_ms = now_ms()
        outcomes = [
            self._apply(trigger.id.beside(rule), link, arguments, caller)
            for rule, link in trigger.links.items()
        ]
        record = Record(
            id=new_activation_id(),
            namespace=trigger.id.space,
            name=trigger.id.name,
            version=trigger.version,
            start_ms=start_ms,
            end_ms=None,
            duration_ms=None,
            response=Response(SUCCESS, dict(payload)),
            annotations={},
            logs=tuple(compact_json(outcome).decode() for outcome in outcomes),
        )
        self._store.put(record)
        return record.id

    def _apply(
        self, rule: Name, link: Link, arguments: Mapping[str, Json], caller: Caller
    ) -> dict[str, Json]:
        """What the trigger's record says of one rule."""
        names: dict[str, Json] = {"rule": rule.path, "action": link.action.path}
        if link.status == "inactive":
            failure = inactive_rule(rule.path, link.action.path)
        else:
            try:
                self._throttle.attempt(time.time())
                resolved = self._entities.resolve(link.action)
                pending = self._invocations.invoke(resolved, arguments, caller)
            except ApiError as error:
                failure = error.message
            else:
                activation = {"statusCode": SUCCESS, "success": True, "activationId": pending.id}
                return {**activation, **names}
        return {"statusCode": APPLICATION_ERROR, "success": False, "error": failure, **names}
