"""From an accepted request to its record: parameters, then the pool, or a run of several."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping

from openwhisk_local.containers.container import Container
from openwhisk_local.containers.pool import Pool
from openwhisk_local.entities.execs import Sequence
from openwhisk_local.entities.fields import Json, Parameters, compact_json
from openwhisk_local.entities.store import EntityStore, Resolved
from openwhisk_local.invoking.activations import Record, new_activation_id
from openwhisk_local.invoking.conductors import CompositionRun, is_conductor
from openwhisk_local.invoking.invocation import Caller, Invocation, Pending, now_ms
from openwhisk_local.invoking.record_store import RecordStore
from openwhisk_local.invoking.sequences import SequenceRun
from openwhisk_local.invoking.stepped import Budget
from openwhisk_local.replies import NOT_PERMITTED_PARAMETERS, ApiError
from openwhisk_local.rest.throttle import Throttle


class Invocations:
    """Starts invocations."""

    def __init__(
        self,
        entities: EntityStore,
        throttle: Throttle,
        pool: Pool[Invocation, Container],
        store: RecordStore,
    ) -> None:
        self._entities = entities
        self._throttle = throttle
        self._pool = pool
        self._store = store
        self._sequences: set[asyncio.Task[Record]] = set()

    def invoke(self, resolved: Resolved, payload: Mapping[str, Json], caller: Caller) -> Pending:
        """Begin what a request asks for.

        Raises:
            ApiError: 400, the payload changes a parameter of an action that is final.
        """
        if resolved.action.is_final:
            stored = {**resolved.inherited, **resolved.action.parameters}
            fixed = {k for k, parameter in stored.items() if parameter.value not in (None, "")}
            if fixed & payload.keys():
                raise ApiError(400, NOT_PERMITTED_PARAMETERS)
        return self.begin(resolved, payload, caller, Budget(), cause=None)

    def begin(
        self, resolved: Resolved, payload: Json, caller: Caller, budget: Budget, cause: str | None
    ) -> Pending:
        """Begin an action, a sequence or a composition; `cause` is the id of the one around it."""
        executed = resolved.action.exec
        if isinstance(executed, Sequence):
            run = SequenceRun(self, self._entities, resolved, caller, budget, cause)
            return self._track(run.id, run.perform(payload))
        if is_conductor(resolved.action):
            composed = CompositionRun(self, self._entities, resolved, caller, budget, cause)
            return self._track(composed.id, composed.perform(payload))
        return self.begin_action(resolved, payload, caller, cause)

    def begin_action(
        self, resolved: Resolved, payload: Json, caller: Caller, cause: str | None
    ) -> Pending:
        """Begin an action of code, also where it is the conductor of a composition.

        Raises:
            TypeError: it is a sequence.
        """
        executed = resolved.action.exec
        if isinstance(executed, Sequence):
            raise TypeError(f"{resolved.action.id.path} is a sequence")
        stored = {**resolved.inherited, **resolved.action.parameters}
        arguments, env = _divided(stored, payload)
        invocation = Invocation(
            id=new_activation_id(),
            done=asyncio.get_running_loop().create_future(),
            caller=caller,
            action=resolved.action,
            code=executed,
            warm_key=resolved.action.warm_key,
            value=compact_json(arguments),
            env=env,
            received_ms=now_ms(),
            binding=resolved.binding,
            cause=cause,
            keep=self._store.put,
            ended=asyncio.get_running_loop().create_future(),
        )
        self._throttle.begin()
        invocation.ended.add_done_callback(lambda _: self._throttle.end())
        self._pool.submit(invocation)
        return invocation

    def _track(self, sequence_id: str, running: Coroutine[None, None, Record]) -> Pending:
        task = asyncio.create_task(running)
        self._sequences.add(task)
        task.add_done_callback(self._sequences.discard)
        task.add_done_callback(lambda done: self._store.put(done.result()))
        return Pending(id=sequence_id, done=task)

    async def close(self) -> None:
        """Return when the last sequence has ended; its components are the pool's to end."""
        while self._sequences:
            await asyncio.gather(*self._sequences)


def _divided(stored: Parameters, payload: Json) -> tuple[Json, dict[str, Json]]:
    """What an action receives, and what becomes its environment instead.

    What a caller gives for a parameter of the environment goes there too, where a container is new.
    """
    if not isinstance(payload, Mapping):
        # An array, which only a sequence passes on, leaves no place for parameters.
        return payload, {key: each.value for key, each in stored.items() if each.init}
    values = {**{key: each.value for key, each in stored.items()}, **payload}
    initial = {key for key, each in stored.items() if each.init}
    arguments = {key: value for key, value in values.items() if key not in initial}
    return arguments, {key: values[key] for key in initial}
