"""What a function behind a URL allows: what is deployed says it, or whoever uses it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from disdel.connections.masking import masked
from disdel.errors import UsageError
from disdel.types import Capacity, LimitNames
from disdel.types.checks import take_fields
from disdel.types.setting import Setting
from disdel.types.units import MIB

_OPTION = "--platform-option"
# What an instance keeps beside its action: the server and the entry were seen to take 45 MB.
FRONT_MB = 64
_MEMORY_MIN_MB = 64
_TIMEOUT_ORDINARY_S = 300.0
_PER_MINUTE = 60_000
# The log and the record's fields, beside an action's answer.
AROUND_BYTES = 128 * 1024
# From the end of a call's own time until it is cut; of a short one a part of it.
_SPARE_S, _SPARE = 2.0, 0.1
# What disdel sends where a platform does not tell what it takes: no request of its own is longer.
_UNKNOWN_PAYLOAD_MB = 1
# Read 2026-11. Only what the platforms say; what is not here is unknown.
_PAYLOADS_MB = {
    # cloud.google.com/run/quotas: 32 MB each way over HTTP/1.
    "functions-framework": 32,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """What is said of a function behind a URL."""

    VARIABLES: ClassVar[str] = "DISDEL_HTTP_"

    urls: Annotated[
        tuple[str, ...],
        Setting(
            "Address of the function; may be repeated for several that are alike.",
            name="url",
            metavar="URL",
        ),
    ] = ()
    token_env: Annotated[
        str | None,
        Setting("Variable with the bearer token of the platform.", metavar="NAME"),
    ] = None
    token_file: Annotated[
        Path | None, Setting("File with the bearer token of the platform.", metavar="FILE")
    ] = None
    token_command: Annotated[
        str | None,
        Setting(
            "Command that prints a bearer token, such as `gcloud auth print-identity-token`; it is "
            "run again when the token ends.",
            metavar="COMMAND",
        ),
    ] = None
    key_env: Annotated[
        str | None,
        Setting("Variable with the function's own token (DISDEL_TOKEN there).", metavar="NAME"),
    ] = None
    key_file: Annotated[
        Path | None, Setting("File with the function's own token.", metavar="FILE")
    ] = None
    instances: Annotated[
        int | None,
        Setting("Calls that run at once.", low=1, default="what was exported, or one a URL"),
    ] = None
    memory_max_mb: Annotated[
        int | None,
        Setting("Memory for one call.", low=_MEMORY_MIN_MB, default="what its instance says"),
    ] = None
    timeout_max_s: Annotated[
        float | None,
        Setting(
            "Longest call: the least time limit on the way to the function.",
            above=0,
            high=86_400,
            default="the least that the function knows of",
        ),
    ] = None
    payload_max_mb: Annotated[
        int | None,
        Setting("Longest request or answer.", low=1, high=1024, default="what the platform says"),
    ] = None
    start_s: Annotated[
        float, Setting("How long an instance may take to start.", above=0, high=3600)
    ] = 60.0

    def __post_init__(self) -> None:
        take_fields(self)


def capacity_of(options: HttpOptions, said: Sequence[Mapping[str, Any]]) -> Capacity:
    """What functions allow that are alike, by their own word and their user's.

    Args:
        options: what their user says.
        said: the answer of each to `hello`.

    Raises:
        UsageError: nobody says how long a call may take, or how many run at once.
    """
    where = masked(options.urls[0])
    least, limit_s = _least_timeout(options, said)
    # Of several, each is taken for one instance where nobody says more.
    each = said[0].get("instances") or (1 if len(said) > 1 else None)
    at_once = options.instances or (each and each * len(said))
    if not at_once:
        raise UsageError(f"how many calls of {where} run at once is unknown: {_OPTION} instances=N")
    instance_mb = min(hello.get("instance_mb") or hello["memory_mb"] for hello in said)
    seen_mb = min(hello["memory_mb"] for hello in said)
    memory_mb = options.memory_max_mb or max(_MEMORY_MIN_MB, min(instance_mb, seen_mb) - FRONT_MB)
    exported = said[0].get("exported", "")
    payload_mb = options.payload_max_mb or _PAYLOADS_MB.get(exported) or _UNKNOWN_PAYLOAD_MB
    # Several on one machine share its processors.
    machines = at_once if len(said) == 1 else len({hello["host"] for hello in said})
    return Capacity(
        memory_min_mb=_MEMORY_MIN_MB,
        memory_max_mb=memory_mb,
        timeout_max_s=limit_s,
        concurrency=at_once,
        invokes_per_minute=_PER_MINUTE,
        pool_memory_mb=at_once * memory_mb,
        cpus=machines * min(hello["cpus"] for hello in said),
        gpu_memory_mb=0,
        kinds=(f"python:{said[0]['python']}",),
        payload_bytes=payload_mb * MIB - AROUND_BYTES,
        # Library and packages are there already.
        code_bytes=sys.maxsize,
        own_code_bytes=payload_mb * MIB * 3 // 4 - AROUND_BYTES,
        timeout_ordinary_s=min(_TIMEOUT_ORDINARY_S, limit_s),
        names=LimitNames(
            memory=f"disdel export --memory, or {_OPTION} memory_max",
            pool=f"disdel export --instances, or {_OPTION} instances",
            timeout=f"{least}, the least limit on the way",
        ),
    )


def _least_timeout(options: HttpOptions, said: Sequence[Mapping[str, Any]]) -> tuple[str, float]:
    """The least time limit on the way to a function that anybody knows of, and what it is called.

    What cuts a call at its limit tells nothing, so a call ends before.

    Raises:
        UsageError: nobody knows of any.
    """
    known = {name: limit_s for hello in said for name, limit_s in hello["timeouts"].items()}
    if options.timeout_max_s is not None:
        known[f"{_OPTION} timeout_max"] = options.timeout_max_s
    if not known:
        raise UsageError(
            f"how long a call of {masked(options.urls[0])} may take is unknown: {_OPTION} "
            "timeout_max=SECONDS, the least of the limits of gateway, function and proxies"
        )
    least = min(known, key=lambda name: (known[name], name))
    return least, known[least] - min(_SPARE_S, known[least] * _SPARE)
