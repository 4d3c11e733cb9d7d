"""What an executor allows: what its workers say of themselves, and what its user says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from disdel.errors import UsageError
from disdel.types import Capacity, LimitNames
from disdel.types.checks import take_fields
from disdel.types.setting import Setting
from disdel.types.units import MIB

_OPTION = "--platform-option"
# An executor has no time limit: calls are ended here. No setting allows more.
_TIMEOUT_MAX_S = 86_400.0
_TIMEOUT_ORDINARY_S = 300.0
_MEMORY_MIN_MB = 64
_PER_MINUTE = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorOptions:
    """What is said of an executor."""

    VARIABLES: ClassVar[str] = "DISDEL_EXECUTOR_"

    executor: Annotated[
        str | None,
        Setting("What makes the executor, or is it.", metavar="FILE.py:FUNCTION|MODULE:ATTRIBUTE"),
    ] = None
    workers: Annotated[
        int | None,
        Setting("Calls that it runs at once.", low=1, default="what the executor says"),
    ] = None
    memory_max_mb: Annotated[
        int | None,
        Setting(
            "Memory for one call.", low=_MEMORY_MIN_MB, default="a worker's share of its machine"
        ),
    ] = None
    timeout_max_s: Annotated[float, Setting("Longest call.", above=0, high=_TIMEOUT_MAX_S)] = (
        _TIMEOUT_MAX_S
    )
    payload_max_mb: Annotated[
        int, Setting("Longest arguments or answer of a call.", low=1, high=1024)
    ] = 5
    code_max_mb: Annotated[
        int, Setting("Largest code of an action, which travels as an argument.", low=1, high=1024)
    ] = 36
    start_s: Annotated[
        float, Setting("How long a call may wait for a worker.", above=0, high=604_800)
    ] = 600.0

    def __post_init__(self) -> None:
        take_fields(self)


def capacity_of(
    options: ExecutorOptions, called: str, workers: int | None, hello: Mapping[str, Any], host: str
) -> Capacity:
    """What the executor allows whose worker has answered `hello`.

    Args:
        options: what its user says of it.
        called: what messages call it.
        workers: what it says of how many calls it runs at once.
        hello: of one worker.
        host: this machine, as `hello` names it.

    Raises:
        UsageError: nobody says how many calls it runs at once.
    """
    at_once = options.workers or workers
    if at_once is None:
        raise UsageError(
            f"{called} does not tell how many calls it runs at once: {_OPTION} workers=N"
        )
    here = hello["host"] == host
    # Of other machines nobody knows how many workers share one.
    share_mb = hello["memory_mb"] // at_once if here else hello["memory_mb"]
    memory_mb = options.memory_max_mb or max(_MEMORY_MIN_MB, share_mb)
    pool_mb = at_once * memory_mb
    return Capacity(
        memory_min_mb=_MEMORY_MIN_MB,
        memory_max_mb=memory_mb,
        timeout_max_s=options.timeout_max_s,
        concurrency=at_once,
        invokes_per_minute=_PER_MINUTE,
        pool_memory_mb=max(pool_mb, hello["memory_mb"]) if here else pool_mb,
        cpus=hello["cpus"] if here else None,
        gpu_memory_mb=0,
        on_loopback=here,
        payload_bytes=options.payload_max_mb * MIB,
        code_bytes=options.code_max_mb * MIB,
        timeout_ordinary_s=min(_TIMEOUT_ORDINARY_S, options.timeout_max_s),
        names=LimitNames(
            memory=f"{_OPTION} memory_max",
            pool=f"{_OPTION} workers or memory_max",
            timeout=f"{_OPTION} timeout_max",
        ),
    )
