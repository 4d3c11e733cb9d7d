"""Resident memory of this container's processes, whoever its pages are charged to.

A memory cgroup charges a library's page to the container that touches it first, so what is charged
to two equal containers differs by the size of the libraries. Resident memory does not.

Not all that is resident is needed: much of a framework's library pages is touched once, at import,
and dropped without harm when memory is short. The working set is all anonymous and shared memory,
and the share of mapped file pages that is used again and again.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from disdel.types.units import mb_ceil
from openwhisk_local.machine.container_memory import container_processes, find_cgroup, resident

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
    working_set_bytes()  # Looks at what is resident while no library page was dropped yet.
    use = resident(container_processes(find_cgroup()))
    return Footprint(
        anonymous_mb=mb_ceil(use.anonymous_bytes),
        mapped_mb=mb_ceil(HOT_SHARE * use.file_bytes + use.shared_bytes),
    )


@dataclass(slots=True)
class _Resident:
    """The most that was seen resident of one process, in KiB, by what backs it."""

    anonymous_kib: int = 0
    mapped_kib: int = 0


# By process id. A container is one set of processes for all of its activations.
_seen: dict[int, _Resident] = {}


def working_set_bytes() -> int:
    """The largest working set so far, summed over the processes that live now.

    The kernel keeps each one's high-water mark of resident memory, so no peak is too short to be
    seen. It does not keep what backed it: short of memory, it drops library pages while anonymous
    memory still grows. What was seen of both at the calls of this function tells them apart.
    Without `/proc` it is all of that mark, of this process alone.
    """
    if not Path("/proc/self/status").exists():
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    total_kib = 0.0
    for member in container_processes(find_cgroup()):
        with contextlib.suppress(OSError):
            fields = dict(
                line.split(":", 1)
                for line in Path(f"/proc/{member}/status").read_text().splitlines()
            )
            if "VmHWM" in fields:
                total_kib += _working_set_kib(
                    _seen.setdefault(member, _Resident()),
                    high_water_kib=int(fields["VmHWM"].split()[0]),
                    anonymous_kib=int(fields["RssAnon"].split()[0]),
                    mapped_kib=int(fields["RssFile"].split()[0]),
                )
    return int(total_kib * 1024)


def _working_set_kib(
    seen: _Resident, *, high_water_kib: int, anonymous_kib: int, mapped_kib: int
) -> float:
    """The working set of a process with this high-water mark and what is resident now."""
    seen.mapped_kib = max(seen.mapped_kib, mapped_kib)
    # The mark's anonymous part is the rest of it, or more where pages had been dropped by then.
    seen.anonymous_kib = max(seen.anonymous_kib, anonymous_kib, high_water_kib - seen.mapped_kib)
    return seen.anonymous_kib + HOT_SHARE * seen.mapped_kib
