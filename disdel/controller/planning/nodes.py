"""What the nodes of a platform have that it does not tell itself: asked of a container, and kept.

OpenWhisk tells neither the CPUs of its nodes nor how much memory it has for containers, and four
workers on two CPUs are slower than two. Before the first plan a container is asked for the CPUs;
the memory shows when warm containers have been removed. Both are kept for a week, by its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import dacite

from disdel.controller.invoking.bundle import build_bundle
from disdel.controller.planning.probing import probe_package
from disdel.controller.session import Session
from disdel.errors import DisdelError, PlatformError
from disdel.host import environment
from disdel.host.home import make_own
from disdel.platforms.base import ActionSpec
from disdel.platforms.registry import chosen
from disdel.runtimes.registry import BASE_IMAGE
from disdel.settings import Settings
from disdel.types import Capacity
from disdel.types.events import Listener, Noted
from openwhisk_local.machine import cpus as container_cpus

# Nodes come and go.
_KEPT_S = 7 * 86_400
_TIMEOUT_S = 60.0
_MOST_CPUS = 65_536


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a platform's containers; None of what was not.

    Attributes:
        cpus: that a container may use.
        pool_below_mb: so many MB of containers were more than the platform keeps.
    """

    cpus: int | None = None
    pool_below_mb: int | None = None


async def with_nodes(session: Session, settings: Settings, emit: Listener) -> Session:
    """The session with what was seen of its platform; for its CPUs a container is asked.

    A platform that tells by itself, or ends with the session, is not asked.
    """
    address = session.lasting_address
    if session.capacity.cpus is not None or address is None:
        return session
    if _read(address).cpus is None:
        try:
            cpus = await _asked(session, settings)
        except DisdelError as error:
            emit(Noted(message=f"the CPUs of the platform are unknown: {error}"))
        else:
            await asyncio.to_thread(_keep, address, replace(_read(address), cpus=cpus))
            told = replace(session.capacity, cpus=cpus)
            return replace(session, capacity=with_seen_nodes(told, address))
    return replace(session, capacity=with_seen_nodes(session.capacity, address))


async def offered_capacity(settings: Settings) -> Capacity:
    """What the platform of `settings` would allow, with what was seen of it; nothing is started.

    Raises:
        UsageError: the settings do not lead to one.
        ConnectionRefused: it does not answer or refuses the key.
    """
    provider = chosen(settings)
    capacity, address = await provider.offered(settings), provider.address(settings)
    return capacity if address is None else with_seen_nodes(capacity, address)


def with_seen_nodes(capacity: Capacity, address: str) -> Capacity:
    """What a platform tells, with what was seen of it before; nothing is asked."""
    seen = _read(address)
    if capacity.cpus is None:
        capacity = replace(capacity, cpus=seen.cpus)
    if capacity.pool_memory_mb is None and seen.pool_below_mb is not None:
        capacity = replace(capacity, pool_memory_mb=seen.pool_below_mb - 1)
    return capacity


def remember_pool(address: str, *, below_mb: int) -> None:
    """Keep that so many MB of containers were more than the platform has room for."""
    seen = _read(address)
    known_mb = seen.pool_below_mb or below_mb
    _keep(address, replace(seen, pool_below_mb=min(known_mb, below_mb)))


async def _asked(session: Session, settings: Settings) -> int:
    """What a container says.

    Raises:
        DisdelError: there is none, or it says something else.
    """
    capacity = session.capacity
    source = Path(container_cpus.__file__).read_bytes()
    files = {
        "openwhisk_local/__init__.py": b"",
        "openwhisk_local/machine/__init__.py": b"",
        "openwhisk_local/machine/cpus.py": source,
    }
    kind = next((kind for kind in sorted(capacity.kinds) if kind.startswith("python:3")), None)
    action = ActionSpec(
        name="node",
        code=build_bundle("node", packages=b"", files=files),
        memory_mb=capacity.memory_min_mb,
        timeout_s=min(_TIMEOUT_S, capacity.timeout_max_s),
        kind=kind,
        image=None if kind else settings.image(BASE_IMAGE),
    )
    platform = session.platform
    async with probe_package(session, "node") as package:
        await platform.create_package(package, {})
        await platform.create_action(package, action)
        record = await platform.invoke(package, action.name, {})
    result = record.result if isinstance(record.result, dict) else {}
    cpus = result.get("cpus")
    if record.ending != "success" or type(cpus) is not int or not 1 <= cpus <= _MOST_CPUS:
        raise PlatformError(f"a container asked for them answered {str(record.result)[:200]}")
    return cpus


def _file(address: str) -> Path:
    digest = hashlib.blake2b(address.encode(), digest_size=8).hexdigest()
    return environment.state_dir() / "history" / f"nodes-{digest}.json"


def _read(address: str) -> Seen:
    """What was kept and is not too old; a file of anything else is as good as none."""
    file = _file(address)
    try:
        if time.time() - file.stat().st_mtime > _KEPT_S:
            return Seen()
        kept = json.loads(file.read_text(encoding="utf-8"))
        seen = dacite.from_dict(Seen, kept if isinstance(kept, dict) else {})
    except (OSError, ValueError, RecursionError, dacite.DaciteError):
        return Seen()
    sound = 1 <= (seen.cpus or 1) <= _MOST_CPUS and (seen.pool_below_mb or 2) > 1
    return seen if sound else Seen()


def _keep(address: str, seen: Seen) -> None:
    """A run is not lost over a state directory that cannot be written."""
    file = _file(address)
    partial = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        make_own(file.parent)
        partial.write_text(json.dumps(asdict(seen)), encoding="utf-8")
        partial.replace(file)
