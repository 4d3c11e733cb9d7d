"""Where a run has something that outlives it, on record until it is removed.

`controller.json` in the run's folder is written before anything is made on a server that outlives
the run, and goes when all of it is gone. Only its owner may read the file, since a Redis URL can
carry a password.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import dacite

from disdel.connections.masking import masked
from disdel.errors import DisdelError, UsageError
from disdel.platforms.base import Platform
from disdel.protocol.keys import RunKeys
from disdel.store.base import Store
from disdel.store.redis_store import RedisStore

CONTROLLER_NAME = "controller.json"
# What an earlier release called them: whether the platform was the embedded one.
_EARLIER_PLATFORMS = {False: "openwhisk", True: "embedded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Servers on which a run has a package, keys, or both.

    Attributes:
        platform: the name of the platform with the package.
        address: what that is found by; None where it has nothing that outlives the run.
        insecure: whether its certificate is not checked.
        store: the address of the store with the keys, or None.
        redis_user: the user there that was made for the run's actions, or None.
    """

    platform: str
    address: str | None
    insecure: bool = False
    store: str | None
    redis_user: str | None = None

    def __str__(self) -> str:
        named = (self.address, None if self.store is None else masked(self.store))
        return " and ".join(name for name in named if name is not None)

    @property
    def is_empty(self) -> bool:
        return self.address is None and self.store is None


def read_places(folder: Path) -> tuple[Place, ...]:
    """Where the run in `folder` has something; empty when there is nothing to remove.

    Raises:
        UsageError: the record cannot be read.
    """
    path = folder / CONTROLLER_NAME
    try:
        fields = json.loads(path.read_bytes())
        return tuple(dacite.from_dict(Place, _renamed(place)) for place in fields["places"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, KeyError, RecursionError, dacite.DaciteError) as error:
        raise UsageError(
            f"{path} cannot be read ({type(error).__name__}), which says what {folder.name} has "
            f"left elsewhere: its package and perhaps a Redis user are disdel-{folder.name}, its "
            f"keys begin with disdel:{folder.name}: ; remove them by hand, then the file"
        ) from error


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """A place as it is written today, also where an earlier release has written it."""
    if isinstance(fields, dict) and "apihost" in fields:
        fields["platform"] = _EARLIER_PLATFORMS[bool(fields.pop("embedded", False))]
        fields["address"] = fields.pop("apihost")
    if isinstance(fields, dict) and "redis" in fields:
        fields["store"] = fields.pop("redis")
    return fields


def write_places(folder: Path, places: Sequence[Place]) -> None:
    """Keep on record where the run has something; nothing anywhere is no record."""
    path = folder / CONTROLLER_NAME
    kept = list(dict.fromkeys(place for place in places if not place.is_empty))
    if not kept:
        path.unlink(missing_ok=True)
        return
    partial = path.with_suffix(".tmp")
    fields: dict[str, Any] = {"places": [asdict(place) for place in kept]}
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(fields, file)
        file.flush()
        os.fsync(descriptor)
    partial.replace(path)


async def remove_from(
    place: Place, run: str, platform: Platform | None, store: Store | None
) -> tuple[Place, list[DisdelError]]:
    """Remove a run's package, keys and user; a failure of one place does not keep the other.

    Args:
        place: where they are.
        run: the run's id.
        platform: that of `place`; None where what it held is gone.
        store: that of `place`; None where it has none.

    Returns:
        What is left, and why.
    """
    errors: list[DisdelError] = []
    if platform is None:
        place = replace(place, address=None)
    if platform is not None and place.address is not None:
        try:
            await platform.remove_package(f"disdel-{run}")
            place = replace(place, address=None)
        except DisdelError as error:
            errors.append(error)
    if store is not None and place.store is not None:
        try:
            await asyncio.to_thread(store.delete_prefix, RunKeys(run).prefix)
            if place.redis_user is not None and isinstance(store, RedisStore):
                # After the mark of the run: activations that find it gone end by themselves. What
                # they have written since, they may delete no more.
                await asyncio.to_thread(store.remove_user, place.redis_user)
                await asyncio.to_thread(store.delete_prefix, RunKeys(run).prefix)
            place = replace(place, store=None, redis_user=None)
        except DisdelError as error:
            errors.append(error)
    return place, errors
