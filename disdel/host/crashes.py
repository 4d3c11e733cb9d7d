"""Faults of the program itself: a sentence for the user, and a file for whoever mends them."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import disdel
from disdel.connections.masking import masked
from disdel.errors import DisdelError
from disdel.host import environment
from disdel.host.streams import say

# What follows these options, and stands in these variables, is for nobody else.
_OPTION = re.compile(r"--(?:auth|redis|store)=(.*)", re.DOTALL)
_VARIABLES = ("DISDEL_AUTH", "DISDEL_REDIS", "DISDEL_STORE", "DISDEL_SIGNING_KEY")
_PASSWORD = re.compile(r"://[^:]*:(.+)@|[?&]password=([^&]+)", re.DOTALL)
_SHOWN = 300


def debugging() -> bool:
    """Whether the user wants to see where errors come from: `--debug` or `DISDEL_DEBUG=1`."""
    return os.environ.get("DISDEL_DEBUG", "") not in ("", "0")


def show(error: BaseException) -> None:
    """Print where an error comes from."""
    say(_described(error))


def kept(error: BaseException) -> tuple[str, int]:
    """Keep what is known of a fault; the sentence that tells of it, and the exit code."""
    said = _without_secrets(f"{type(error).__name__}: {error}")[:_SHOWN]
    where = "what is printed above" if debugging() else _write(_described(error))
    return f"this is a fault of disdel itself ({said}): please report it with {where}", 1


def _described(error: BaseException) -> str:
    return _without_secrets(
        f"disdel {disdel.__version__}, Python {platform.python_version()} on "
        f"{platform.platform()}\n{' '.join(sys.argv)}\n\n"
        + "".join(traceback.format_exception(error))
    )


def _write(text: str) -> str:
    """Where the text was written, as words."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in _folders():
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return f"the file {path}"
    return "what DISDEL_DEBUG=1 shows"


def _folders() -> Iterator[Path]:
    with contextlib.suppress(OSError, DisdelError):
        yield environment.state_dir() / "faults"
    with contextlib.suppress(OSError):
        yield Path(tempfile.mkdtemp(prefix="disdel-fault-"))


def _without_secrets(text: str) -> str:
    for secret in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(secret, masked(secret) if "://" in secret else "***")
    return text


def _secrets() -> Iterator[str]:
    given = [os.environ.get(name, "") for name in _VARIABLES]
    given += [match[1] for word in sys.argv if (match := _OPTION.fullmatch(word))]
    given += [
        value
        for option, value in zip(sys.argv, sys.argv[1:], strict=False)
        if option in ("--auth", "--redis", "--store")
    ]
    for value in filter(None, given):
        yield value
        for match in _PASSWORD.finditer(value):
            yield match[1] or match[2]
