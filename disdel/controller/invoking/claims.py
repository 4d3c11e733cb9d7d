"""Invocations that are sent again when their answer got lost, and whose work is done once.

Every invocation has a key. An activation claims it in the store before it does anything, and one
that finds it claimed answers by whom (`worker/context.py`). So an invocation whose answer did not
come is found again, and one that was sent twice does no harm.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from disdel.controller.invoking.needs import WAIT_S
from disdel.errors import ActivationLost, RequestRefused
from disdel.platforms.base import Begun, Platform
from disdel.protocol.keys import RunKeys
from disdel.protocol.signing import Signer
from disdel.store.base import Store
from disdel.types import ActivationRecord


@dataclass(frozen=True, slots=True)
class Claims:
    """The invocations of one run.

    Attributes:
        platform: where they run.
        store: where they are claimed.
        keys: of the run.
    """

    platform: Platform
    store: Store
    keys: RunKeys

    async def invoke(
        self,
        package: str,
        action: str,
        arguments: Mapping[str, object],
        *,
        invocation: str,
        timeout_s: float,
        signer: Signer | None = None,
    ) -> ActivationRecord:
        """The record of the activation that does the work, also where none ever comes.

        `signer` signs what is sent, and checks what comes back.

        Raises:
            PlatformRejected: the platform refuses, or has lost the action (404).
        """

        async def begun() -> Begun | None:
            return await asyncio.to_thread(self._claim_of, invocation)

        sent: dict[str, object] = {
            **arguments,
            "invocation": invocation,
            **self._keeping(arguments),
        }
        if signer is not None:
            sent = signer.signed(sent, lasts_s=timeout_s + WAIT_S)
        began_s = time.time()
        try:
            record = await self.platform.invoke(
                package,
                action,
                sent,
                timeout_s=timeout_s,
                begun=begun,
            )
            other = record.result.get("claimed_by") if isinstance(record.result, dict) else None
            if other is not None:
                record = await self.platform.record(
                    package, action, str(other), timeout_s=timeout_s, begun=begun
                )
        except ActivationLost as lost:
            return ActivationRecord(
                id=lost.activation_id,
                action=action,
                start_ms=round(began_s * 1000),
                duration_ms=0,
                wait_ms=0,
                # A container that is not known of is not counted.
                init_ms=None,
                ending="platform-error",
                result={"error": f"{lost}."},
            )
        return record if signer is None else _checked(record, signer, sent)

    def _claim_of(self, invocation: str) -> Begun | None:
        said = self.store.get_field(self.keys.claims, invocation)
        if said is None:
            return None
        activation_id, _, rest = said.partition(" ")
        ended, _, answer = rest.partition(" ")
        result = json.loads(answer) if answer else None
        return Begun(activation_id=activation_id, ended=bool(ended), result=result)

    def _keeping(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """What has an activation leave its answer, where the platform has no record of it.

        The shares of a secure sum are for the controller alone, and all clients read the store.
        """
        if self.platform.keeps_records or arguments.get("task") == "secure":
            return {}
        return {"keeps_answer": True}


def _checked(
    record: ActivationRecord, signer: Signer, sent: Mapping[str, object]
) -> ActivationRecord:
    """A record whose reply is what the endpoint has signed for this request, else of a failure.

    What the platform says of an activation that has not replied (a time limit, a lost container)
    nobody signs, and it can do no more than have the activation run again.
    """
    if record.ending not in ("success", "application-error"):
        return record
    try:
        return replace(record, result=signer.check_reply(record.result, sent))
    except RequestRefused as refused:
        error = record.result.get("error") if isinstance(record.result, dict) else None
        said = error.get("message") if isinstance(error, dict) else error
        told = f", which says: {str(said)[:500]}" if said else ""
        return replace(record, ending="platform-error", result={"error": f"{refused}{told}."})
