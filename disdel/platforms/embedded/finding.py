"""The embedded platform that runs in the background: one a state folder, found by its record."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from disdel.host.environment import state_dir
from disdel.platforms.embedded.lock import LOCK_NAME, is_free
from disdel.platforms.openwhisk.access import ApiAccess
from openwhisk_local.records import PlatformRecord, is_dead, read_records

STOP_DEADLINE_S = 15.0
_PING_TIMEOUT_S = 5.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformInfo:
    """A platform that runs, or ran: how to reach it, and how it enforces memory limits.

    `namespaces` are those beside `guest`, with their keys.
    """

    access: ApiAccess
    pid: int
    enforcement: str
    isolation: str
    limits: str
    user_memory_mb: int
    namespaces: Mapping[str, str] = field(default_factory=dict, repr=False)


def platform_status(state_folder: Path | None = None) -> PlatformInfo | None:
    """The platform that runs in the background, if its process lives and answers."""
    record = _shared_record(state_folder)
    return info_of(record) if record and _answers(record) else None


def find_running(state_folder: Path | None = None) -> ApiAccess | None:
    """How to reach the platform that runs in the background, if there is one."""
    running = platform_status(state_folder)
    return running.access if running else None


def platform_down(state_folder: Path | None = None) -> PlatformInfo | None:
    """Stop the platform that runs in the background, and wait until it has cleaned up.

    Returns:
        What was stopped, None if there was nothing to stop.
    """
    record = _shared_record(state_folder)
    if record is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_DEADLINE_S
    while record.alive:
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    with contextlib.suppress(ChildProcessError):
        # Where this very process has started it, it is also the one to bury it.
        os.waitpid(record.pid, os.WNOHANG)
    return info_of(record)


def _shared_record(state_folder: Path | None) -> PlatformRecord | None:
    records = read_records(state_folder or state_dir())
    return next((record for record in records if record.shared and record.alive), None)


def platforms_elsewhere(state_folder: Path | None = None) -> list[str]:
    """Where shared platforms run that are recorded here and cannot be seen from here."""
    folder = state_folder or state_dir()
    hidden = [r for r in read_records(folder) if r.shared and not r.process.seen_from_here]
    if not hidden or is_free(folder / LOCK_NAME):
        return []
    return [record.process.place for record in hidden if not is_dead(folder, record)]


def info_of(record: PlatformRecord) -> PlatformInfo:
    """What a record of a platform says, as its users see it."""
    return PlatformInfo(
        access=ApiAccess(record.apihost, record.auth),
        pid=record.pid,
        enforcement=record.enforcement,
        isolation=record.isolation,
        limits=record.limits,
        user_memory_mb=record.user_memory_mb,
        namespaces=record.namespaces,
    )


def _answers(record: PlatformRecord) -> bool:
    import httpx

    try:
        reply = httpx.get(f"{record.apihost}/ping", timeout=_PING_TIMEOUT_S, trust_env=False)
    except httpx.HTTPError:
        return False
    return reply.text == "pong"
