"""Resident memory of this container's processes, whoever its pages are charged to.

A memory cgroup charges a library's page to the container that touches it first, so what is charged
to two equal containers differs by the size of the libraries. Resident memory does not.

Not all that is resident is needed: much of a framework's library pages is touched once, at import,
and dropped without harm when memory is short. The working set is all anonymous and shared memory,
and the share of mapped file pages that is used again and again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from disdel.container_memory import process_tree, tree_use
from disdel.units import mb_ceil

# Of TensorFlow's 360 MB of mapped pages. An epoch is as fast within 512 MB as without a limit, with
# 385 MB of them anonymous, and thrashes within 448: docs/measurements.md.
HOT_SHARE = 0.55


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The working set by what backs it, in MB."""

    anonymous_mb: int
    mapped_mb: int


def footprint_now() -> Footprint | None:
    """What is resident now; None where there is no `/proc`."""
    if not Path("/proc/self/status").exists():
        return None
    use = tree_use(os.getpid())
    return Footprint(
        anonymous_mb=mb_ceil(use.anonymous_bytes),
        mapped_mb=mb_ceil(HOT_SHARE * use.file_bytes + use.shared_bytes),
    )


def give_back_freed_memory() -> None:
    """Return what the C library's allocator holds of freed memory to the system.

    Tensors of a step and arrays of a state are freed and allocated in turn at different sizes; what
    lies between them would stay resident, some of it in every round.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc's own
        trim(0)


def working_set_bytes() -> int:
    """The largest working set so far, summed over the processes that live now.

    The kernel keeps each one's high-water mark of resident memory, so no peak is too short to be
    seen. Without `/proc` it is all of that, of this process alone.
    """
    if not Path("/proc/self/status").exists():
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return resident if sys.platform == "darwin" else resident * 1024
    total_kib = 0.0
    for member in process_tree(os.getpid()):
        with contextlib.suppress(OSError):
            fields = dict(
                line.split(":", 1)
                for line in Path(f"/proc/{member}/status").read_text().splitlines()
            )
            if "VmHWM" in fields:
                cold_kib = (1 - HOT_SHARE) * int(fields["RssFile"].split()[0])
                total_kib += int(fields["VmHWM"].split()[0]) - cold_kib
    return int(total_kib * 1024)
