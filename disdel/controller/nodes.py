"""What the nodes of a platform have that it does not tell itself: asked of a container, and kept.

OpenWhisk tells neither its nodes nor their CPUs, and four workers on a node of two CPUs are slower
than two. Before the first plan a container is asked, once a week for each API host.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import time
from dataclasses import replace
from pathlib import Path

from disdel import config, container_cpus
from disdel.bundle import build_bundle
from disdel.controller.session import Session
from disdel.controller.settings import Settings
from disdel.errors import DisdelError, PlatformError
from disdel.events import Listener, Noted
from disdel.platforms.base import ActionSpec, Platform
from disdel.scheduler.runtimes import BASE_IMAGE
from disdel.types import Capacity

# Nodes come and go.
_KEPT_S = 7 * 86_400
_TIMEOUT_S = 60.0
_MOST_CPUS = 65_536


async def with_nodes(session: Session, settings: Settings, emit: Listener) -> Session:
    """The session with the CPUs that a container of its platform sees, where one can be asked."""
    if session.capacity.cpus is not None or session.lasting_apihost is None:
        return session
    file = _file(session.lasting_apihost)
    cpus = _kept(file)
    if cpus is None:
        try:
            cpus = await _asked(session.platform, session.capacity, settings)
        except DisdelError as error:
            emit(Noted(message=f"the CPUs of the platform are unknown: {error}"))
            return session
        with contextlib.suppress(OSError):
            await asyncio.to_thread(_keep, file, cpus)
    return replace(session, capacity=replace(session.capacity, cpus=cpus))


def with_kept_nodes(capacity: Capacity, apihost: str) -> Capacity:
    """The capacity of an API host with what its containers have said before, asking none."""
    return capacity if capacity.cpus is not None else replace(capacity, cpus=_kept(_file(apihost)))


async def _asked(platform: Platform, capacity: Capacity, settings: Settings) -> int:
    """What a container says.

    Raises:
        DisdelError: there is none, or it says something else.
    """
    source = Path(container_cpus.__file__).read_bytes()
    files = {"disdel/__init__.py": b"", "disdel/container_cpus.py": source}
    kind = next((kind for kind in sorted(capacity.kinds) if kind.startswith("python:3")), None)
    action = ActionSpec(
        name="node",
        code=build_bundle("node", packages=b"", files=files),
        memory_mb=capacity.memory_min_mb,
        timeout_s=min(_TIMEOUT_S, capacity.timeout_max_s),
        kind=kind,
        image=None if kind else settings.image(BASE_IMAGE),
    )
    package = f"disdel-node-{secrets.token_hex(4)}"
    try:
        await platform.create_package(package, {})
        await platform.create_action(package, action)
        record = await platform.invoke(package, action.name, {})
    finally:
        await platform.remove_package(package)
    result = record.result if isinstance(record.result, dict) else {}
    cpus = result.get("cpus")
    if record.status != "success" or type(cpus) is not int or not 1 <= cpus <= _MOST_CPUS:
        raise PlatformError(f"a container asked for them answered {str(record.result)[:200]}")
    return cpus


def _file(apihost: str) -> Path:
    digest = hashlib.blake2b(apihost.encode(), digest_size=8).hexdigest()
    return config.state_dir() / "history" / f"nodes-{digest}.json"


def _kept(file: Path) -> int | None:
    """What was kept, and is not too old; a file of anything else counts as none."""
    try:
        if time.time() - file.stat().st_mtime > _KEPT_S:
            return None
        cpus = json.loads(file.read_text(encoding="utf-8"))["cpus"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return cpus if type(cpus) is int and 1 <= cpus <= _MOST_CPUS else None


def _keep(file: Path, cpus: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    partial.write_text(json.dumps({"cpus": cpus}), encoding="utf-8")
    partial.replace(file)
