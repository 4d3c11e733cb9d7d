"""What every platform refuses before it makes an action."""

from __future__ import annotations

from disdel.errors import PlatformRejected
from disdel.platforms.base import ActionSpec
from disdel.types import Capacity
from disdel.types.plan import in_brackets

_BAD_REQUEST = 400


def check_limits(action: ActionSpec, most: Capacity) -> None:
    """Refuse an action that wants other memory, or more time, than there is.

    Args:
        action: that is to be made.
        most: what its platform allows.

    Raises:
        PlatformRejected: it does.
    """
    if not most.memory_min_mb <= action.memory_mb <= most.memory_max_mb:
        raise PlatformRejected(
            f"{action.name} wants {action.memory_mb} MB, and an action has {most.memory_min_mb} to "
            f"{most.memory_max_mb} MB here{in_brackets(most.names.memory)}",
            status=_BAD_REQUEST,
        )
    if action.timeout_s > most.timeout_max_s:
        raise PlatformRejected(
            f"{action.name} wants {action.timeout_s:g} s, and is cut after "
            f"{most.timeout_max_s:g} s here{in_brackets(most.names.timeout)}",
            status=_BAD_REQUEST,
        )
