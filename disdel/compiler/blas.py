"""numpy without its BLAS, which is half of what numpy weighs and which no compiled action calls.

What an action computes, IREE computes; of numpy it uses arrays, elementwise functions and random
numbers. numpy's extension modules name OpenBLAS as a library that they need, but call it through
slots that are filled at the first call. So the name is taken out, and slots stay empty until then:
a product of matrices would end the process with the name of the function that is missing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

_LIBRARIES = "numpy.libs/"
_INIT = "numpy/__init__.py"
# numpy's own product of two numbers at its import, a guard against a BLAS of another ABI.
_BLAS_CHECK = b"\n    _sanity_check()\n"

# What numpy leaves to those who distribute it to write, and imports before its extension modules.
_DISTRIBUTOR = "numpy/_distributor_init_local.py"
_BIND_AT_FIRST_CALL = b"""import os
import sys

sys.setdlopenflags(os.RTLD_LAZY)
"""

# Of the ELF-64 format (System V ABI, chapters 4 and 5), little-endian.
_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_DYNAMIC_ENTRY = struct.Struct("<qQ")
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_NEEDED, _DT_STRTAB = 0, 1, 5
_DT_BIND_NOW, _DT_FLAGS, _DT_FLAGS_1 = 24, 30, 0x6FFFFFFB
_DF_BIND_NOW, _DF_1_NOW = 8, 1


class _EagerlyBound(Exception):
    """A module whose slots are all filled when it is loaded."""


def without_blas(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of packages with a numpy that has no BLAS.

    A numpy that was built in another way than the wheels on PyPI for Linux is left as it is.

    Args:
        members: files by their path, numpy's sources among them.
    """
    libraries = {path for path in members if path.startswith(_LIBRARIES)}
    if not libraries or members.get(_INIT, b"").count(_BLAS_CHECK) != 1:
        return dict(members)
    names = {PurePosixPath(path).name for path in libraries}
    try:
        modules = {
            path: without_needed(data, names)
            for path, data in members.items()
            if path.startswith("numpy/") and data.startswith(_ELF64_LITTLE_ENDIAN)
        }
    except _EagerlyBound:
        return dict(members)
    return {
        **{path: data for path, data in members.items() if path not in libraries},
        **modules,
        _INIT: members[_INIT].replace(_BLAS_CHECK, b"\n"),
        _DISTRIBUTOR: _BIND_AT_FIRST_CALL,
    }


def without_needed(module: bytes, names: set[str]) -> bytes:
    """An ELF-64 library that no longer names `names` among those that it needs.

    Raises:
        _EagerlyBound: it needs one of them as soon as it is loaded.
    """
    [(_, start, _)] = _segments(module, _PT_DYNAMIC)
    entries = list(_dynamic_entries(module, start))
    strings = _file_offset(module, next(value for tag, value in entries if tag == _DT_STRTAB))

    def is_gone(tag: int, value: int) -> bool:
        begin = strings + value
        return tag == _DT_NEEDED and module[begin : module.index(b"\0", begin)].decode() in names

    left = [entry for entry in entries if not is_gone(*entry)]
    gone = len(entries) - len(left)
    if gone and any(map(_binds_now, entries)):
        raise _EagerlyBound
    table = b"".join(_DYNAMIC_ENTRY.pack(*entry) for entry in left)
    table += _DYNAMIC_ENTRY.pack(_DT_NULL, 0) * gone
    return module[:start] + table + module[start + len(table) :]


def _binds_now(entry: tuple[int, int]) -> bool:
    tag, value = entry
    return (
        tag == _DT_BIND_NOW
        or (tag == _DT_FLAGS and bool(value & _DF_BIND_NOW))
        or (tag == _DT_FLAGS_1 and bool(value & _DF_1_NOW))
    )


def _segments(module: bytes, wanted: int) -> Iterator[tuple[int, int, int]]:
    """Address, offset in the file and length of each segment of a type."""
    (first,) = struct.unpack_from("<Q", module, 32)
    size, count = struct.unpack_from("<HH", module, 54)
    for number in range(count):
        kind, _, offset, address, _, length, _, _ = _PROGRAM_HEADER.unpack_from(
            module, first + number * size
        )
        if kind == wanted:
            yield address, offset, length


def _file_offset(module: bytes, address: int) -> int:
    return next(
        address - begin + offset
        for begin, offset, length in _segments(module, _PT_LOAD)
        if begin <= address < begin + length
    )


def _dynamic_entries(module: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Tags and values up to the end mark, which is not among them."""
    while True:
        tag, value = _DYNAMIC_ENTRY.unpack_from(module, start)
        if tag == _DT_NULL:
            return
        yield tag, value
        start += _DYNAMIC_ENTRY.size
