"""Memory that a process no longer needs, and who looks for it: the C library, and Python."""

from __future__ import annotations

import atexit
import ctypes
import gc

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE_BYTES = 1 << 20
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


def collect_rarely() -> None:
    """For a process that imports much and is soon over: look for cycles rarely, and not at the end.

    Imports make hundreds of thousands of objects, all of which stay, and looking through them takes
    a fifth of their time.
    """
    gc.set_threshold(_COLLECT_AFTER)
    atexit.register(gc.freeze)
