"""What AWS Lambda calls in a function of one action: the event is the action's arguments."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from disdel.entry.call import call, load

# The bundle has one, which serves under any name.
_ACTION = "main"
# While the container starts, where an error is one of the start.
load(_ACTION)


class LambdaContext(Protocol):
    """What the runtime says of an invocation."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


def handler(event: Mapping[str, object], context: LambdaContext) -> dict[str, Any]:
    """The answer of the action to `event`; what it raises becomes `{"error": TEXT}`."""
    return call(
        _ACTION,
        event,
        activation_id=context.aws_request_id.replace("-", ""),
        deadline_ms=int(time.time() * 1000) + context.get_remaining_time_in_millis(),
    )
