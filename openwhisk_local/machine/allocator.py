"""Memory that a process no longer needs, and who looks for it: the C library, and Python."""

from __future__ import annotations

import atexit
import ctypes
import gc

# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BYTES = 1 << 20
# Blocks that are kept. Larger ones are few, and what lies between them would be too much memory.
_KEPT_BYTES = 32 << 20
# What may lie unused above the last block that is not.
_UNUSED_BYTES = 1 << 30
# New objects; Python's own is 700 or 2,000, by version.
_COLLECT_AFTER = 100_000


def give_back_freed_memory() -> None:
    """Return what the C library's allocator holds of freed memory to the system.

    Tensors of a step and arrays of a state are freed and allocated in turn at different sizes; what
    lies between them would stay resident, some of it in every round.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc's own
        trim(0)


def keep_large_blocks_apart() -> None:
    """Let blocks of 1 MiB and more go back to the system as soon as they are freed.

    A block that a thread has freed otherwise stays with that thread's arena, where
    `give_back_freed_memory` does not reach it. It costs page faults: not for a training step.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:  # glibc's own
        tune(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def keep_freed_memory() -> None:
    """Keep freed blocks of up to 32 MiB for the next ones, until `give_back_freed_memory`.

    Else each large tensor of a training step is memory that the system must give, and clear, anew:
    that is half of the time of a step of small convolutions.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:  # glibc's own
        tune(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        tune(_M_TRIM_THRESHOLD, _UNUSED_BYTES)


def collect_rarely() -> None:
    """For a process that imports much and is soon over: look for cycles rarely, and not at the end.

    Imports make hundreds of thousands of objects, all of which stay, and looking through them takes
    a fifth of their time.
    """
    gc.set_threshold(_COLLECT_AFTER)
    atexit.register(gc.freeze)
