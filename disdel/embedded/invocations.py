"""From an accepted request to its record: throttle, parameters, pool, and the blocking wait."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping

from disdel.embedded.activations import ActivationStore, Record
from disdel.embedded.container import Container
from disdel.embedded.entities import Action, Json, Parameters
from disdel.embedded.invoker import Invocation, now_ms
from disdel.embedded.pool import Pool
from disdel.embedded.replies import NOT_PERMITTED_PARAMETERS, ApiError
from disdel.embedded.throttle import Throttle


class Invocations:
    """Starts invocations and waits for them."""

    def __init__(
        self, throttle: Throttle, pool: Pool[Invocation, Container], store: ActivationStore
    ) -> None:
        self.throttle = throttle
        self.store = store
        self._pool = pool

    def submit(
        self,
        action: Action,
        inherited: Parameters,
        payload: Mapping[str, Json],
        *,
        transaction_id: str,
        api_key: str,
    ) -> Invocation:
        """Hand an invocation to the pool.

        Parameters of the payload win over the action's, those over its package's.

        Raises:
            ApiError: 400, the payload changes a parameter of an action that is final.
        """
        stored = {**inherited, **action.parameters}
        if action.annotations.get("final") is True:
            fixed = {k for k, parameter in stored.items() if parameter.value not in (None, "")}
            if fixed & payload.keys():
                raise ApiError(400, NOT_PERMITTED_PARAMETERS)
        plain = {key: parameter.value for key, parameter in stored.items() if not parameter.init}
        invocation = Invocation(
            id=uuid.uuid4().hex,
            transaction_id=transaction_id,
            action=action,
            warm_key=action.warm_key(),
            value={**plain, **payload},
            env={key: parameter.value for key, parameter in stored.items() if parameter.init},
            api_key=api_key if action.wants_api_key else None,
            received_ms=now_ms(),
            done=asyncio.get_running_loop().create_future(),
        )
        self.throttle.begin()
        invocation.done.add_done_callback(lambda _: self.throttle.end())
        self._pool.submit(invocation)
        return invocation

    @staticmethod
    async def wait(invocation: Invocation, timeout_s: float) -> Record | None:
        """The record, or None when it is not there in time; the activation goes on."""
        done, _ = await asyncio.wait([invocation.done], timeout=timeout_s)
        return invocation.done.result() if done else None
