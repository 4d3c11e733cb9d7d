"""How many CPUs this process can use, seen from inside, and what they can.

Standard library only: the `node` action carries this file alone.
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_CPUINFO = Path("/proc/cpuinfo")
# Of x86 and of ARM.
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """The CPUs that this process may run on, or fewer where its cgroup has a quota; at least 1.

    Args:
        cgroup: where a container sees its own cgroup (v2), or the controllers' folders (v1).
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _quota_cpus(cgroup)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def has_bfloat16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether the processor multiplies in bfloat16; False where it does not say so.

    Args:
        cpuinfo: what Linux tells of its processors.
    """
    with contextlib.suppress(OSError):
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
        return not words.isdisjoint(_BFLOAT16)
    return False


def _quota_cpus(cgroup: Path) -> float | None:
    """The CPU time that the cgroup may take in any time; None where it has no quota."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota_us = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())
        return (
            quota_us / int((cgroup / "cpu" / "cpu.cfs_period_us").read_text())
            if quota_us > 0
            else None
        )
    return None
