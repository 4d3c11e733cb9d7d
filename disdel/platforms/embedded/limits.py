"""What an embedded platform allows, and what a user may ask of one on this machine."""

from __future__ import annotations

import psutil

from disdel.errors import UsageError
from disdel.platforms.embedded.options import EmbeddedOptions
from disdel.platforms.openwhisk.limits import CODE_BYTES, TIMEOUT_ORDINARY_S
from disdel.types import Capacity, LimitNames
from disdel.types.units import MIB
from openwhisk_local.limits import (
    MAX_PAYLOAD_BYTES,
    RECORD_OVERHEAD_BYTES,
    platform_limits,
)
from openwhisk_local.machine.cpus import usable_cpus
from openwhisk_local.machine.gpu import first_gpu

NAMES = LimitNames(pool="disdel platform up --user-memory {need}")


def embedded_capacity(options: EmbeddedOptions) -> Capacity:
    """What a platform started with `options` would allow; nothing is started."""
    limits = platform_limits(options.limits, options.user_memory_mb)
    gpu = first_gpu()
    return Capacity(
        memory_min_mb=limits.min_memory_mb,
        memory_max_mb=limits.max_memory_mb,
        timeout_max_s=limits.max_timeout_ms / 1000,
        concurrency=limits.concurrent_invokes,
        invokes_per_minute=limits.invokes_per_minute,
        pool_memory_mb=limits.user_memory_mb,
        cpus=usable_cpus(),
        gpu_memory_mb=0 if gpu is None else gpu.memory_mb,
        payload_bytes=MAX_PAYLOAD_BYTES,
        code_bytes=CODE_BYTES,
        timeout_ordinary_s=TIMEOUT_ORDINARY_S,
        names=NAMES,
    )


def check_sizes(options: EmbeddedOptions) -> None:
    """Refuse what this machine has no memory for.

    Raises:
        UsageError: a size is more than that, or records are more than their size has room for.
    """
    machine_mb = (psutil.virtual_memory().total + psutil.swap_memory().total) // MIB
    for name, size_mb in (
        ("--user-memory", options.user_memory_mb or 0),
        ("--grow-to", options.grow_to_mb),
        ("--max-records-mb", options.max_records_mb),
        ("--max-entities-mb", options.max_entities_mb),
    ):
        if size_mb > machine_mb:
            raise UsageError(
                f"{name} is {size_mb} MB, and this machine has {machine_mb} MB, its swap included"
            )
    most = options.max_records_mb * MIB // RECORD_OVERHEAD_BYTES
    if options.max_records > most:
        raise UsageError(
            f"--max-records is {options.max_records}, and {options.max_records_mb} MB have room "
            f"for {most} at most: fewer, or more --max-records-mb"
        )
