"""Runs a composition: a conductor action says after each step which action comes next.

After core/controller PrimitiveActions.scala. A conductor is an action of code with a truthy
annotation `conductor`. Its result may name the next `action`, with `params` for it and a `state`;
it is then called again with that action's result and its state. Without an `action` its result, or
the `params` in it, is the composition's. The record is like a sequence's: ids of the activations as
its log, the sum of their durations.
"""

from __future__ import annotations

import asyncio

from openwhisk_local.entities.actions import Action
from openwhisk_local.entities.execs import SEQUENCE, Code
from openwhisk_local.entities.fields import Json, compact_json
from openwhisk_local.entities.names import DEFAULT_NAMESPACE, Name, is_path
from openwhisk_local.entities.store import EntityStore, Resolved
from openwhisk_local.invoking.activations import (
    APPLICATION_ERROR,
    Record,
    Response,
    new_activation_id,
)
from openwhisk_local.invoking.invocation import Caller, now_ms
from openwhisk_local.invoking.sequences import Begins, Budget, Step, largest_mb, record_of
from openwhisk_local.replies import (
    LONG_COMPOSITION,
    ApiError,
    composition_component_invalid,
    composition_component_not_accessible,
    composition_component_not_found,
)


def is_conductor(action: Action) -> bool:
    return isinstance(action.exec, Code) and bool(action.annotations.get("conductor"))


class CompositionRun:
    """One activation of a composition.

    Args:
        starter: begins the steps.
        entities: where the components are found.
        resolved: the conductor.
        caller: who asked for it.
        budget: shared with the composition around this one.
        cause: the id of the sequence or composition around this one, None for the topmost.
    """

    def __init__(
        self,
        starter: Begins,
        entities: EntityStore,
        resolved: Resolved,
        caller: Caller,
        budget: Budget,
        cause: str | None,
    ) -> None:
        self.id = new_activation_id()
        self._starter = starter
        self._entities = entities
        self._resolved = resolved
        self._caller = caller
        self._budget = budget
        self._cause = cause
        self._received_ms = now_ms()
        self._steps: list[Step] = []
        self._state: dict[str, Json] = {}

    async def perform(self, payload: Json) -> Record:
        """Run the steps; never raises."""
        start_ms = now_ms()
        response: Response | None = None
        while response is None:
            response, payload = await self._step(payload)
        return self._record(start_ms, response)

    async def _step(self, payload: Json) -> tuple[Response | None, Json]:
        """Ask the conductor: the composition's response, or None and what to ask it with next."""
        if not self._budget.spend_conductor():
            return Response.failed(APPLICATION_ERROR, LONG_COMPOSITION), None
        arguments = {**payload, **self._state} if isinstance(payload, dict) else {}
        pending = self._starter.begin_action(self._resolved, arguments, self._caller, self.id)
        record = await self._ended(pending.done)
        result = record.response.result if isinstance(record.response.result, dict) else {}
        self._state = _boxed(result["state"], "state") if "state" in result else {}
        params = _boxed(result["params"], "value") if "params" in result else None
        if "action" not in result:
            given = record.response.result if params is None else params
            return Response(record.response.code, given), None
        return None, await self._component(result["action"], params or {})

    async def _component(self, named: Json, params: dict[str, Json]) -> Json:
        """What the conductor is told of its next action: its result, or why there is none."""
        place = _read_component(named, self._caller.namespace)
        if place is None:
            return {"error": composition_component_invalid(compact_json(named).decode())}
        namespace, name = place
        path = f"{namespace}/{name.path.partition('/')[2]}"
        if namespace != self._caller.namespace:
            return {"error": composition_component_not_accessible(path)}
        try:
            resolved = self._entities.resolve(name)
        except ApiError:
            return {"error": composition_component_not_found(path)}
        inner = is_conductor(resolved.action)
        if not inner and not self._budget.spend_component():
            return {"error": LONG_COMPOSITION}
        budget = self._budget if inner else self._budget.afresh()
        pending = self._starter.begin(resolved, params, self._caller, budget, self.id)
        return (await self._ended(pending.done)).response.result

    async def _ended(self, done: asyncio.Future[Record]) -> Record:
        record = await done
        self._steps.append(Step.of(record))
        return record

    def _record(self, start_ms: int, response: Response) -> Record:
        action, topmost = self._resolved.action, self._cause is None
        annotations: dict[str, Json] = {
            "topmost": topmost,
            "path": action.id.path,
            "kind": SEQUENCE,
            "conductor": True,
        }
        if not topmost:
            annotations["causedBy"] = SEQUENCE
        annotations["waitTime"] = start_ms - self._received_ms
        if self._resolved.binding:
            annotations["binding"] = self._resolved.binding
        memory_mb = max(action.limits.memory_mb, largest_mb(self._steps) or 0)
        annotations["limits"] = {**action.limits.to_wire(), "memory": memory_mb}
        return record_of(
            action,
            self._caller,
            self._steps,
            run_id=self.id,
            response=response,
            start_ms=start_ms,
            annotations=annotations,
            cause=self._cause,
        )


def _boxed(value: Json, name: str) -> dict[str, Json]:
    return value if isinstance(value, dict) else {name: value}


def _read_component(named: Json, own: str) -> tuple[str, Name] | None:
    """The namespace and the place that a conductor names: `[/NAMESPACE/][PACKAGE/]NAME`."""
    if not isinstance(named, str) or not is_path(named):
        return None
    parts = [part for part in named.split("/") if part]
    absolute = named.startswith("/") or len(parts) == 3
    if len(parts) > 3 or (absolute and len(parts) == 1):
        return None
    namespace = parts.pop(0) if absolute else own
    package = parts[0] if len(parts) == 2 else None
    return (own if namespace == DEFAULT_NAMESPACE else namespace), Name(package, parts[-1], own)
