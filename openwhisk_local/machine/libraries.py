"""Pages of shared libraries that a process has read only to load them."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

# Of Linux's mman.h.
_MADV_DONTNEED = 4


def load_library(package: str, name: str) -> None:
    """Load a large library of a package that is imported afterwards, and keep little of it.

    The linker reads all of its tables, which are then in the way of what the import makes. Where
    there is none of that name, nothing is done.
    """
    with contextlib.suppress(ImportError, OSError):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            ctypes.CDLL(str(Path(folder) / name))
            give_back_library_pages()


def give_back_library_pages() -> None:
    """Let go of the pages of libraries that are as in their files.

    They stay in the page cache, and those that are used are mapped again. Of a framework's
    hundreds of megabytes these are a third.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    with contextlib.suppress(OSError):
        for start, stop in _unchanged(Path("/proc/self/smaps").read_text()):
            # A range that the system keeps stays as it is.
            advise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), _MADV_DONTNEED)


def _unchanged(smaps: str) -> Iterator[tuple[int, int]]:
    """Where libraries are that cannot be written, and have no page of this process's own.

    What the linker has written and then protected is in no file.
    """
    start = stop = 0
    is_library = False
    own_kib = 0
    for line in smaps.splitlines():
        first, _, rest = line.partition(" ")
        if not first.endswith(":"):
            fields = rest.split(maxsplit=4)
            is_library = (
                "w" not in fields[0] and ".so" in Path(fields[4] if fields[4:] else "").name
            )
            start, stop = (int(address, 16) for address in first.split("-"))
            own_kib = 0
        elif first in ("Anonymous:", "Swap:"):
            own_kib += int(rest.split()[0])
        elif first == "VmFlags:" and is_library and not own_kib:
            yield start, stop
