"""The GPU of a machine or a container, as NVIDIA's own tool tells it: no framework is needed."""

from __future__ import annotations

import functools
import subprocess
from dataclasses import dataclass

_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
# A driver that hangs must not hold up what needs no GPU.
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU by its product's name, with all of its memory."""

    name: str
    memory_mb: int


@functools.cache
def first_gpu() -> Gpu | None:
    """The first one, the same all the time; None where there is none, or no tool that tells."""
    try:
        told = subprocess.run(
            _QUERY, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # A line a GPU: `NVIDIA T4, 15360`; the tool's MiB are our MB.
    name, _, memory_mb = told.stdout.partition("\n")[0].rpartition(", ")
    return Gpu(name=name, memory_mb=int(memory_mb)) if memory_mb.isdecimal() else None
