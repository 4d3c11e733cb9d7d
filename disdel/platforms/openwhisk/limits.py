"""What an OpenWhisk allows, by its own word and by what upstream ships."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from disdel.settings import LimitsName
from disdel.types import Capacity, LimitNames
from disdel.types.units import MIB
from openwhisk_local.limits import platform_limits

# Of those limits that have a name, which are somebody's who hosts an OpenWhisk.
HOSTED = tuple(name for name in get_args(LimitsName) if name not in ("roomy", "stock"))

NAMES = LimitNames(
    memory="whisk.memory.max; helm: whisk.limits.actions.memory.max",
    pool="helm: whisk.containerPool.userMemory",
    timeout="whisk.duration.max; helm: whisk.limits.actions.time.max",
    invokes_per_minute="helm: whisk.limits.actionsInvokesPerminute",
)
# What the Python image's own proxy keeps beside the action: of an /init with a zip of 12 MB it was
# seen to keep 27 to 55 MB.
STOCK_PROXY_MB = 55
# A request or an answer; a record adds 6 kB to it.
_PAYLOAD_BYTES = MIB
# Of a zip; its limit of 48 MB is on the code as base64, which is what it is sent as.
CODE_BYTES = 48 * MIB * 3 // 4
# What it lets an action run for where nobody has changed that.
TIMEOUT_ORDINARY_S = 300.0
# What collecting an activation's log takes after its answer, as seen on Docker: 40 to 100 ms.
_SETTLE_MS = 150

# What upstream ships (contract of `GET /`: bytes and milliseconds), for a host that hides its info.
_DEFAULT_INFO = {
    "min_action_memory": 128 * MIB,
    "max_action_memory": 512 * MIB,
    "max_action_duration": 300_000,
    "concurrent_actions": 30,
    "actions_per_minute": 60,
}


def capacity_of(info: Mapping[str, Any], names: LimitNames = NAMES) -> Capacity:
    """What a host allows whose `GET /` answers `info`.

    Args:
        info: has the limits, and of an embedded platform also what the machine has.
        names: of the settings by which they are raised.
    """
    limits = {**_DEFAULT_INFO, **info.get("limits", {})}
    extension = info.get("capacity", {})
    return Capacity(
        memory_min_mb=limits["min_action_memory"] // MIB,
        memory_max_mb=limits["max_action_memory"] // MIB,
        timeout_max_s=limits["max_action_duration"] / 1000,
        concurrency=int(limits["concurrent_actions"]),
        invokes_per_minute=int(limits["actions_per_minute"]),
        pool_memory_mb=extension.get("user_memory_mb"),
        cpus=extension.get("cpus"),
        gpu_memory_mb=(extension.get("gpu_memory_mb") or 0) if extension else None,
        on_loopback=bool(extension),
        settle_s=extension.get("settle_ms", _SETTLE_MS) / 1000,
        payload_bytes=_PAYLOAD_BYTES,
        code_bytes=CODE_BYTES,
        timeout_ordinary_s=TIMEOUT_ORDINARY_S,
        names=names,
        kinds=tuple(
            runtime["kind"] for family in info.get("runtimes", {}).values() for runtime in family
        ),
    )


def hosted_capacity(told: Capacity, name: LimitsName) -> Capacity:
    """What a host allows, by what its owner publishes instead of by its own word.

    Args:
        told: its own word.
        name: one of `HOSTED`.
    """
    limits = platform_limits(name)
    return replace(
        told,
        memory_min_mb=limits.min_memory_mb,
        memory_max_mb=limits.max_memory_mb,
        timeout_max_s=limits.max_timeout_ms / 1000,
        concurrency=limits.concurrent_invokes,
        invokes_per_minute=limits.invokes_per_minute,
        # Which nobody but the owner raises.
        names=LimitNames(),
    )
