"""A container's view of the files: what its first program mounts before it does anything else.

The action proxy for Python calls `enter`. For other programs,

    python container_mounts.py PROGRAM ARGUMENT...

does so and becomes that program: a mount program would be one more process to wait for. Standard
library only, since this lies beside the proxy.

Environment:
    DISDEL_MOUNTS    `Mounts` as JSON; without it nothing is done
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from dataclasses import asdict, dataclass

MOUNTS_ENV = "DISDEL_MOUNTS"

# Of mount(2).
READ_ONLY, NO_SUID, NO_DEVICES, NO_PROGRAMS, REMOUNT, BIND = 1, 2, 4, 8, 32, 4096
RECURSIVE, PRIVATE = 1 << 14, 1 << 18

_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION = 0x20080522


@dataclass(frozen=True)
class Mounts:
    """What to mount, and the directory to be in after that.

    Each of `mounts` has the arguments of mount(2): source, target, type, flags and data.
    `drops_capabilities` gives up what allowed to mount.
    """

    mounts: list[tuple[str, str, str, int, str]]
    home: str
    drops_capabilities: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def enter() -> None:
    """Mount what the environment says.

    Raises:
        OSError: the kernel refuses.
    """
    said = os.environ.pop(MOUNTS_ENV, None)
    if said is None:
        return
    wanted = Mounts(**json.loads(said))
    libc = ctypes.CDLL(None, use_errno=True)
    for source, target, kind, flags, data in wanted.mounts:
        _check(
            libc.mount(
                os.fsencode(source),
                os.fsencode(target),
                kind.encode(),
                ctypes.c_ulong(flags),
                data.encode(),
            ),
            target,
        )
    os.chdir(wanted.home)
    if wanted.drops_capabilities:
        _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl")
        # Effective, permitted and inheritable ones, in two halves.
        header, none = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
        _check(libc.capset(header, none), "capset")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    enter()
    os.execvp(sys.argv[1], sys.argv[1:])
