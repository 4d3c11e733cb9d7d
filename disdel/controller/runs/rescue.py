"""What a run has come to is kept, if any place is left for it.

A disk may have filled up, or a folder have gone, since the run began.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from disdel.errors import DisdelError, HostFailed
from disdel.host import environment


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all; raises `OSError`."""
    partial = path.with_name(f".{path.name}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def write_somewhere(path: Path, data: bytes) -> tuple[Path, str | None]:
    """Write a file of a run's folder, there or at another place.

    Returns:
        Where it is, and why not at `path`.

    Raises:
        HostFailed: there is no place.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        why = f"{path} cannot be written ({error.strerror or error})"
    else:
        return path, None
    for place in _places():
        with contextlib.suppress(OSError):
            # Where others write too, a name that is known before could be theirs.
            folder = Path(tempfile.mkdtemp(prefix=f"disdel-{path.parent.name}-", dir=place))
            try:
                write_whole(folder / path.name, data)
            except OSError:
                folder.rmdir()
                raise
            return folder / path.name, why
    raise HostFailed(
        f"{why}, nor any other place: make room, and take the run up again with disdel train "
        f"--resume {path.parent.name}"
    )


def _places() -> Iterator[Path]:
    yield Path.cwd()
    with contextlib.suppress(DisdelError):
        yield environment.state_dir()
    yield Path(tempfile.gettempdir())
    with contextlib.suppress(RuntimeError):
        yield Path.home()
    yield Path("/dev/shm")
