"""What AWS Lambda allows, by the quotas of docs.aws.amazon.com/lambda, read 2026-11."""

from __future__ import annotations

import sys

from disdel.platforms.lambda_.options import LambdaOptions
from disdel.types import Capacity, LimitNames
from disdel.types.units import MIB
from openwhisk_local.machine.cpus import usable_cpus

MEMORY_MIN_MB = 128
MEMORY_MAX_MB = 10_240
TIMEOUT_MAX_S = 900.0
# A limit that is not reached costs nothing; Lambda's own default of 3 s is for web pages.
TIMEOUT_ORDINARY_S = 300.0
# An initialisation that takes longer is thrown away, and begun again inside the invocation.
INIT_S = 10.0
# An event or an answer, as JSON.
PAYLOAD_BYTES = 6_291_556
# Of a zip that is sent with the request, and of what any zip unpacks to.
ZIP_BYTES = 50 * MIB
UNZIPPED_BYTES = 250 * MIB
# Of a container image, uncompressed.
IMAGE_BYTES = 10 << 30
# What functions of images leave of an event to the code that comes with it.
CODE_BYTES_IN_EVENT = PAYLOAD_BYTES // 2
# Of an account in a region, unless it has asked for more or is new.
CONCURRENCY = 1_000
# Of an account, for each invocation at the same time that it may have.
INVOKES_A_SECOND = 10
# A function of so much memory has one virtual CPU.
MB_PER_CPU = 1_769
RUNTIMES = ("3.11", "3.12", "3.13")
NAMES = LimitNames(invokes_per_minute="AWS Service Quotas, Lambda, Concurrent executions")


def capacity(options: LambdaOptions, concurrency: int | None = None) -> Capacity:
    """What a Lambda allows.

    Args:
        options: where it is.
        concurrency: how many invocations at the same time the account may have; None if unknown.
    """
    most = min(concurrency or CONCURRENCY, options.concurrency or sys.maxsize)
    return Capacity(
        memory_min_mb=MEMORY_MIN_MB,
        memory_max_mb=MEMORY_MAX_MB,
        timeout_max_s=TIMEOUT_MAX_S,
        concurrency=most,
        invokes_per_minute=INVOKES_A_SECOND * 60 * most,
        # An emulator has this machine's; on Lambda each container has its own.
        cpus=most if options.endpoint is None else usable_cpus(),
        mb_per_cpu=MB_PER_CPU if options.endpoint is None else None,
        gpu_memory_mb=0,
        payload_bytes=payload_bytes(options),
        code_bytes=ZIP_BYTES if options.bucket is None else UNZIPPED_BYTES,
        timeout_ordinary_s=TIMEOUT_ORDINARY_S,
        names=NAMES,
        kinds=tuple(f"python:{version}" for version in RUNTIMES),
    )


def payload_bytes(options: LambdaOptions) -> int:
    """The most JSON that an activation is given or answers."""
    return PAYLOAD_BYTES if options.image_prefix is None else PAYLOAD_BYTES - CODE_BYTES_IN_EVENT
