"""What a user may ask of the embedded platform on this machine."""

from __future__ import annotations

import psutil

from disdel.errors import UsageError
from disdel.platforms.embedded import EmbeddedOptions
from disdel.types.units import MIB
from openwhisk_local.limits import RECORD_OVERHEAD_BYTES


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
