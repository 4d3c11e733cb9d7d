"""Runs a sequence: each component in turn, with the result of the one before.

The first result with a field `error` is the result of the sequence. A sequence's record has the
activation ids of its components as its log, and their durations' sum as its duration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from openwhisk_local.entities.actions import Action
from openwhisk_local.entities.execs import SEQUENCE, Exec, Sequence
from openwhisk_local.entities.fields import Json
from openwhisk_local.entities.names import Name
from openwhisk_local.entities.store import EntityStore, Resolved
from openwhisk_local.invoking.activations import (
    APPLICATION_ERROR,
    SUCCESS,
    Record,
    Response,
    new_activation_id,
)
from openwhisk_local.invoking.invocation import Caller, Pending, now_ms
from openwhisk_local.limits import MAX_SEQUENCE
from openwhisk_local.replies import LONG_SEQUENCE, NO_COMPONENT, ApiError

# Of one request: sequences and compositions in each other multiply, or lead back to themselves.
_MOST_ACTIVATIONS = 10_000


@dataclass(slots=True)
class Allowance:
    """How many more activations a request may begin, however they are nested."""

    activations: int = _MOST_ACTIVATIONS


@dataclass(slots=True)
class Budget:
    """How much more a sequence, or a composition, and those inside of it may begin.

    OpenWhisk counts a sequence's actions only; counting inner sequences as well ends those that
    lead back to themselves. Of a composition it counts components, as many as a sequence has, and
    calls of conductors before, between and after them.
    """

    allowance: Allowance = field(default_factory=Allowance)
    actions: int = MAX_SEQUENCE
    sequences: int = MAX_SEQUENCE
    components: int = MAX_SEQUENCE
    conductors: int = 2 * MAX_SEQUENCE + 1

    def afresh(self) -> Budget:
        """That of a sequence in a composition, or of a composition in a sequence."""
        return Budget(self.allowance)

    def spend(self, begun: Exec) -> bool:
        """Whether a sequence may begin this."""
        self.allowance.activations -= 1
        if isinstance(begun, Sequence):
            self.sequences -= 1
        else:
            self.actions -= 1
        return min(self.actions, self.sequences, self.allowance.activations) >= 0

    def spend_component(self) -> bool:
        """Whether a composition may begin another action that is no composition."""
        self.allowance.activations -= 1
        self.components -= 1
        return min(self.components, self.allowance.activations) >= 0

    def spend_conductor(self) -> bool:
        """Whether a composition may call its conductor once more."""
        self.allowance.activations -= 1
        self.conductors -= 1
        return min(self.conductors, self.allowance.activations) >= 0


class Begins(Protocol):
    """What begins the components."""

    def begin(
        self, resolved: Resolved, payload: Json, caller: Caller, budget: Budget, cause: str | None
    ) -> Pending: ...

    def begin_action(
        self, resolved: Resolved, payload: Json, caller: Caller, cause: str | None
    ) -> Pending: ...


@dataclass(frozen=True, slots=True)
class Step:
    """What the record of a sequence or composition says of one that was a part of it.

    It is not that one's record, whose result only the next step is for.
    """

    id: str
    duration_ms: int
    memory_mb: int | None

    @classmethod
    def of(cls, record: Record) -> Step:
        limits = record.annotations.get("limits")
        return cls(record.id, record.duration_ms or 0, limits["memory"] if limits else None)


def largest_mb(steps: Iterable[Step]) -> int | None:
    """The largest memory limit, None where no step had one."""
    return max((step.memory_mb for step in steps if step.memory_mb is not None), default=None)


def record_of(
    action: Action,
    caller: Caller,
    steps: list[Step],
    *,
    run_id: str,
    response: Response,
    start_ms: int,
    annotations: dict[str, Json],
    cause: str | None,
) -> Record:
    """The record of what has ended now: its log is the ids of its steps, it took what they did."""
    return Record(
        id=run_id,
        namespace=caller.namespace,
        name=action.name,
        version=action.version,
        start_ms=start_ms,
        end_ms=now_ms(),
        duration_ms=sum(step.duration_ms for step in steps),
        response=response,
        annotations=annotations,
        logs=tuple(step.id for step in steps),
        cause=cause,
    )


class SequenceRun:
    """One activation of a sequence.

    Args:
        cause: the id of the sequence around this one, None for the topmost.
    """

    def __init__(
        self,
        starter: Begins,
        entities: EntityStore,
        resolved: Resolved,
        sequence: Sequence,
        caller: Caller,
        budget: Budget,
        cause: str | None,
    ) -> None:
        self.id = new_activation_id()
        self._starter = starter
        self._entities = entities
        self._resolved = resolved
        self._sequence = sequence
        self._caller = caller
        self._budget = budget
        self._cause = cause
        self._received_ms = now_ms()
        self._components: list[Step] = []

    async def perform(self, payload: Json) -> Record:
        """Run the components; never raises."""
        start_ms = now_ms()
        response = Response(SUCCESS, payload)
        for component in self._sequence.components:
            response = await self._next(component, response.result)
            if isinstance(response.result, dict) and "error" in response.result:
                break
        return self._record(start_ms, response)

    async def _next(self, component: Name, payload: Json) -> Response:
        try:
            resolved = self._entities.resolve(component)
        except ApiError:
            return Response.failed(APPLICATION_ERROR, NO_COMPONENT)
        if not self._budget.spend(resolved.action.exec):
            return Response.failed(APPLICATION_ERROR, LONG_SEQUENCE)
        inner = isinstance(resolved.action.exec, Sequence)
        budget = self._budget if inner else self._budget.afresh()
        pending = self._starter.begin(resolved, payload, self._caller, budget, self.id)
        record = await pending.done
        self._components.append(Step.of(record))
        return record.response

    def _record(self, start_ms: int, response: Response) -> Record:
        action, topmost = self._resolved.action, self._cause is None
        annotations: dict[str, Json] = {
            "topmost": topmost,
            "path": action.id.path,
            "kind": SEQUENCE,
            "waitTime": start_ms - self._received_ms,
        }
        if not topmost:
            annotations["causedBy"] = SEQUENCE
        if self._resolved.binding:
            annotations["binding"] = self._resolved.binding
        memory_mb = largest_mb(self._components)
        if memory_mb is not None:
            annotations["limits"] = {**action.limits.to_wire(), "memory": memory_mb}
        return record_of(
            action,
            self._caller,
            self._components,
            run_id=self.id,
            response=response,
            start_ms=start_ms,
            annotations=annotations,
            cause=self._cause,
        )
