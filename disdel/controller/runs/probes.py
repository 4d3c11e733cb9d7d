"""Packages that are made only to ask a platform something: on record until they are removed.

A record is a folder in the state directory, as a run's own: `controller.json` says where the
package is, and whoever made it has the folder's lease. What a killed process has left is removed at
the start of the next session with that platform.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from disdel.controller.runs.lease import STALE_S, RunTaken, claimed, is_driven
from disdel.controller.runs.places import (
    CONTROLLER_NAME,
    Place,
    read_places,
    remove_from,
    write_places,
)
from disdel.errors import DisdelError, UsageError
from disdel.host import environment
from disdel.host.home import make_own
from disdel.platforms.base import Platform


def _folder() -> Path:
    return environment.state_dir() / "probes"


@contextmanager
def recorded(name: str, place: Place) -> Iterator[Callable[[], None]]:
    """Inside, the package `disdel-NAME` is on record, and after that until it is removed.

    Yields:
        What to call when it is removed.
    """
    folder, removed = _folder() / name, []
    with ExitStack() as stack:
        # Nothing is lost over a state directory that cannot be written but the record.
        with suppress(OSError, UsageError):
            if not place.is_empty:
                make_own(folder)
                stack.enter_context(claimed(folder))
                write_places(folder, [place])
        yield lambda: removed.append(name)
    if removed:
        shutil.rmtree(folder, ignore_errors=True)


async def sweep(platform: Platform, is_there: Callable[[Place], bool]) -> list[DisdelError]:
    """Remove what killed processes have left on a platform.

    Args:
        platform: its client.
        is_there: whether a place is on that platform.

    Returns:
        Why something is left.
    """
    errors: list[DisdelError] = []
    for folder in _left():
        before = len(errors)
        try:
            with claimed(folder):
                places = read_places(folder)
                if not all(map(is_there, places)):
                    continue
                for place in places:
                    _, failures = await remove_from(place, folder.name, platform, None)
                    errors += failures
        except RunTaken:
            continue
        except DisdelError as error:
            errors.append(error)
        if len(errors) == before:
            shutil.rmtree(folder, ignore_errors=True)
    return errors


def _left() -> list[Path]:
    """The folders of packages whose makers are gone."""
    with suppress(OSError):
        # One that is only being made is no one's yet.
        made_by_s = time.time() - STALE_S
        return [
            folder
            for folder in sorted(_folder().iterdir())
            if not is_driven(folder)
            and ((folder / CONTROLLER_NAME).exists() or folder.stat().st_mtime < made_by_s)
        ]
    return []
