"""What the platform allows, what it costs, and what its user may choose."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from disdel.platforms.prices import Price
from disdel.types import Capacity, LimitNames
from disdel.types.checks import take_fields
from disdel.types.setting import Setting
from openwhisk_local.machine.cpus import usable_cpus

PAYLOAD_BYTES = 256 * 1024
CODE_BYTES = 16 * 2**20
CONCURRENCY = 16
PRICES = (
    Price(
        provider="the owner of this machine",
        per_gb_s=1e-6,
        per_invocation=0.0,
        source="what power costs",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    VARIABLES: ClassVar[str] = "DISDEL_PROCESSES_"

    memory_max_mb: Annotated[int, Setting("Most memory of one process.", low=128)] = 2048

    def __post_init__(self) -> None:
        take_fields(self)


def capacity(options: ProcessOptions) -> Capacity:
    return Capacity(
        memory_min_mb=128,
        memory_max_mb=options.memory_max_mb,
        timeout_max_s=120,
        concurrency=CONCURRENCY,
        invokes_per_minute=10_000,
        pool_memory_mb=8192,
        cpus=usable_cpus(),
        payload_bytes=PAYLOAD_BYTES,
        code_bytes=CODE_BYTES,
        timeout_ordinary_s=60,
        names=LimitNames(memory="--platform-option memory_max"),
    )
