"""What a sequence and a composition have in common: steps that they begin, count and tell of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from openwhisk_local.entities.execs import SEQUENCE, Exec, Sequence
from openwhisk_local.entities.fields import Json
from openwhisk_local.entities.store import EntityStore, Resolved
from openwhisk_local.invoking.activations import Record, Response, new_activation_id
from openwhisk_local.invoking.invocation import Caller, Pending, now_ms
from openwhisk_local.limits import MAX_SEQUENCE

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


class SteppedRun:
    """One activation of a sequence or a composition.

    Args:
        starter: begins the steps.
        entities: where the components are found.
        resolved: the sequence, or the conductor.
        caller: who asked for it.
        budget: shared with the sequence or composition around this one.
        cause: the id of that one, None for the topmost.
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

    async def _ended(self, pending: Pending) -> Record:
        record = await pending.done
        self._steps.append(Step.of(record))
        return record

    def _largest_mb(self) -> int | None:
        """The largest memory limit, None where no step had one."""
        return max((step.memory_mb for step in self._steps if step.memory_mb), default=None)

    def _record(
        self, start_ms: int, response: Response, *, memory_mb: int | None, **annotations: Json
    ) -> Record:
        """The record of what ends now: its log is the ids of its steps, it took what they did."""
        action = self._resolved.action
        told: dict[str, Json] = {
            "topmost": self._cause is None,
            "path": action.id.path,
            "kind": SEQUENCE,
            **annotations,
            "waitTime": start_ms - self._received_ms,
        }
        if self._cause is not None:
            told["causedBy"] = SEQUENCE
        if self._resolved.binding:
            told["binding"] = self._resolved.binding
        if memory_mb is not None:
            told["limits"] = {**action.limits.to_wire(), "memory": memory_mb}
        return Record(
            id=self.id,
            namespace=self._caller.namespace,
            name=action.name,
            version=action.version,
            start_ms=start_ms,
            end_ms=now_ms(),
            duration_ms=sum(step.duration_ms for step in self._steps),
            response=response,
            annotations=told,
            logs=tuple(step.id for step in self._steps),
            cause=self._cause,
        )
