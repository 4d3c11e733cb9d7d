"""Files that the user has named for results: tried before the work that they are for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from disdel.errors import UsageError

# More than fits where nothing fits any more: file systems keep small files in their own records.
_TRIED_BYTES = 8192


def check_all_differ(files: Mapping[str, Path | str | None]) -> None:
    """Refuse two options that name one file: the one would replace the other.

    Args:
        files: by the option that names each; None and `-` are none.

    Raises:
        UsageError: two are the same, also over links.
    """
    seen: dict[Path, str] = {}
    for option, name in files.items():
        if name is None or str(name) == "-":
            continue
        file = Path(os.path.realpath(name))
        if file.exists() and not file.is_file():
            continue  # A terminal or a pipe takes both.
        if file in seen:
            raise UsageError(f"{seen[file]} and {option} are one file, {name}: name two")
        seen[file] = option


def check_target(option: str, path: Path) -> None:
    """Make sure that a file can be written, leaving everything as it is.

    Args:
        option: what the user has named it with.
        path: the file.

    Raises:
        UsageError: it cannot be.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{option} {path} is a folder: name a file in it")
        # A link stays one: what it leads to is written.
        real = path.resolve()
        if not real.parent.is_dir():
            raise UsageError(f"{option} {path}: there is no such folder as {real.parent}")
        if real.exists() and not real.is_file():
            if not os.access(real, os.W_OK):
                raise PermissionError("it is not for this user to write")
            return  # A device or a pipe, which would take what is tried.
        with tempfile.NamedTemporaryFile(dir=real.parent, prefix=".disdel-") as tried:
            tried.write(bytes(_TRIED_BYTES))
            tried.flush()
            os.fsync(tried.fileno())
    except (OSError, RuntimeError, ValueError) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        raise UsageError(
            f"{option} {str(path)!r} cannot be written ({why}): name a file elsewhere"
        ) from error
