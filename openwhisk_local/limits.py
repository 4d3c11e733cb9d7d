"""What the platform allows: the limits of one action, of a namespace, and of payloads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import psutil

from openwhisk_local.replies import ApiError, malformed, object_expected, too_many_instances
from openwhisk_local.units import MIB

Profile = Literal["roomy", "stock", "digitalocean"]

MAX_PAYLOAD_BYTES = 1 * MIB
MAX_PARAMETERS_BYTES = 1 * MIB
MAX_CODE_BYTES = 48 * MIB
MAX_BODY_BYTES = 50 * MIB
MAX_BLOCKING_MS = 60_000
MAX_LIST = 200
DEFAULT_LIST = 30

# What the platform holds, by default.
MAX_RECORDS = 10_000
MAX_RECORDS_MB = 256
MAX_ENTITIES_MB = 1024
# What Python's objects around a record's texts take.
RECORD_OVERHEAD_BYTES = 600

STOCK_USER_MEMORY_MB = 1024
MIN_TIMEOUT_MS, STANDARD_TIMEOUT_MS, MAX_TIMEOUT_MS = 100, 60_000, 300_000
MIN_LOGS_MB, STANDARD_LOGS_MB, MAX_LOGS_MB = 0, 10, 10
MAX_CONCURRENCY = 1
MAX_SEQUENCE = 50


@dataclass(frozen=True, slots=True)
class PlatformLimits:
    """The ranges that action limits must lie in, and the throttles of the namespace."""

    profile: Profile
    user_memory_mb: int
    max_memory_mb: int
    invokes_per_minute: int
    concurrent_invokes: int
    min_memory_mb: int = 128
    standard_memory_mb: int = 256
    max_timeout_ms: int = MAX_TIMEOUT_MS


def platform_limits(profile: Profile, user_memory_mb: int | None = None) -> PlatformLimits:
    """The limits of a profile.

    Args:
        profile: "stock" is upstream's defaults, "roomy" a deployment with room, others are named
            after who hosts an OpenWhisk with these limits.
        user_memory_mb: of all containers together; None for what goes with the profile.
    """
    if profile == "stock":
        return PlatformLimits(profile, user_memory_mb or STOCK_USER_MEMORY_MB, 512, 60, 30)
    machine_mb = int(psutil.virtual_memory().total // MIB)
    shared_mb = user_memory_mb or machine_mb * 3 // 4
    if profile == "digitalocean":
        # https://docs.digitalocean.com/products/functions/details/limits/, read 2026-11
        return PlatformLimits(profile, shared_mb, 1024, 600, 120, max_timeout_ms=900_000)
    return PlatformLimits(profile, shared_mb, 4096, 6000, 256)


@dataclass(frozen=True, slots=True)
class ActionLimits:
    """The limits of one action, in OpenWhisk's units."""

    timeout_ms: int
    memory_mb: int
    logs_mb: int
    concurrency: int
    instances: int | None = None

    def to_wire(self) -> dict[str, int]:
        """As an action's `limits` are answered: milliseconds and MB."""
        wire = {
            "timeout": self.timeout_ms,
            "memory": self.memory_mb,
            "logs": self.logs_mb,
            "concurrency": self.concurrency,
        }
        return wire if self.instances is None else {**wire, "instances": self.instances}


def action_limits(
    wire: object, allowed: PlatformLimits, old: ActionLimits | None = None
) -> ActionLimits:
    """Read and check the `limits` of a request; what it omits stays as in `old`, else standard.

    Raises:
        ApiError: 400, a value is not a whole number or out of range.
    """
    if not isinstance(wire, Mapping):
        raise object_expected("timeout")
    base = old or ActionLimits(
        STANDARD_TIMEOUT_MS, allowed.standard_memory_mb, STANDARD_LOGS_MB, MAX_CONCURRENCY
    )
    timeout_ms = _whole(wire, "timeout", "time limit", base.timeout_ms)
    memory_mb = _whole(wire, "memory", "memory limit", base.memory_mb)
    logs_mb = _whole(wire, "logs", "log limit", base.logs_mb)
    concurrency = _whole(wire, "concurrency", "intra concurrency limit", base.concurrency)
    instances = base.instances
    if wire.get("instances") is not None:
        instances = _whole(wire, "instances", "instance concurrency limit", 0)
    if instances is not None and instances > allowed.concurrent_invokes:
        raise too_many_instances(allowed.concurrent_invokes)
    _check("duration", timeout_ms, MIN_TIMEOUT_MS, allowed.max_timeout_ms, " milliseconds")
    _check("memory size", memory_mb, allowed.min_memory_mb, allowed.max_memory_mb, " MB")
    _check("log size", logs_mb, MIN_LOGS_MB, MAX_LOGS_MB, " MB")
    _check("concurrency", concurrency, 1, MAX_CONCURRENCY, "")
    return ActionLimits(timeout_ms, memory_mb, logs_mb, concurrency, instances)


def _whole(wire: Mapping[str, Any], key: str, name: str, default: int) -> int:
    value = wire.get(key)
    if value is None:
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise malformed(f"{name} malformed")
    if not isinstance(value, int):
        raise malformed(f"requirement failed: {name} must be whole number")
    return value


def _check(name: str, value: int, low: int, high: int, unit: str) -> None:
    if value > high:
        why = f"exceeds allowed threshold of {high}{unit}"
    elif value < low:
        why = f"below allowed threshold of {low}{unit}"
    else:
        return
    raise ApiError(400, f"requirement failed: {name} {value}{unit} {why}")
