"""Runs a composition: a conductor action says after each step which action comes next.

After core/controller PrimitiveActions.scala. A conductor is an action of code with a truthy
annotation `conductor`. Its result may name the next `action`, with `params` for it and a `state`;
it is then called again with that action's result and its state. Without an `action` its result, or
the `params` in it, is the composition's. The record is like a sequence's: ids of the activations as
its log, the sum of their durations.
"""

from __future__ import annotations

from openwhisk_local.entities.actions import Action
from openwhisk_local.entities.execs import Code
from openwhisk_local.entities.fields import Json, compact_json
from openwhisk_local.entities.names import DEFAULT_NAMESPACE, Name, is_path
from openwhisk_local.invoking.activations import APPLICATION_ERROR, Record, Response
from openwhisk_local.invoking.invocation import now_ms
from openwhisk_local.invoking.stepped import SteppedRun
from openwhisk_local.replies import (
    LONG_COMPOSITION,
    ApiError,
    composition_component_invalid,
    composition_component_not_accessible,
    composition_component_not_found,
)


def is_conductor(action: Action) -> bool:
    return isinstance(action.exec, Code) and bool(action.annotations.get("conductor"))


class CompositionRun(SteppedRun):
    """One activation of a composition."""

    async def perform(self, payload: Json) -> Record:
        """Run the steps; never raises."""
        start_ms = now_ms()
        response: Response | None = None
        while response is None:
            response, payload = await self._step(payload)
        memory_mb = max(self._resolved.action.limits.memory_mb, self._largest_mb() or 0)
        return self._record(start_ms, response, memory_mb=memory_mb, conductor=True)

    async def _step(self, payload: Json) -> tuple[Response | None, Json]:
        """Ask the conductor: the composition's response, or None and what to ask it with next."""
        if not self._budget.spend_conductor():
            return Response.failed(APPLICATION_ERROR, LONG_COMPOSITION), None
        arguments = payload if isinstance(payload, dict) else {}
        pending = self._starter.begin_action(self._resolved, arguments, self._caller, self.id)
        record = await self._ended(pending)
        result = record.response.result if isinstance(record.response.result, dict) else {}
        state = _boxed(result["state"], "state") if "state" in result else {}
        params = _boxed(result["params"], "value") if "params" in result else None
        if "action" not in result:
            given = record.response.result if params is None else params
            return Response(record.response.code, given), None
        told = await self._component(result["action"], params or {})
        return None, {**told, **state} if isinstance(told, dict) else {}

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
        return (await self._ended(pending)).response.result


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
