"""Runs a sequence: each component in turn, with the result of the one before.

The first result with a field `error` is the result of the sequence. A sequence's record has the
activation ids of its components as its log, and their durations' sum as its duration.
"""

from __future__ import annotations

from openwhisk_local.entities.execs import Sequence
from openwhisk_local.entities.fields import Json
from openwhisk_local.entities.names import Name
from openwhisk_local.invoking.activations import APPLICATION_ERROR, SUCCESS, Record, Response
from openwhisk_local.invoking.invocation import now_ms
from openwhisk_local.invoking.stepped import SteppedRun
from openwhisk_local.replies import LONG_SEQUENCE, NO_COMPONENT, ApiError


class SequenceRun(SteppedRun):
    """One activation of a sequence."""

    async def perform(self, payload: Json) -> Record:
        """Run the components; never raises."""
        sequence = self._resolved.action.exec
        assert isinstance(sequence, Sequence)
        start_ms = now_ms()
        response = Response(SUCCESS, payload)
        for component in sequence.components:
            response = await self._next(component, response.result)
            if isinstance(response.result, dict) and "error" in response.result:
                break
        return self._record(start_ms, response, memory_mb=self._largest_mb())

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
        return (await self._ended(pending)).response
